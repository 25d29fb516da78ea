import sys
def _boot(space):
    path = sys.argv[1]
    del sys.argv[0]
    print_exception = sys.excepthook
    # Uncaught exceptions are told as if the program had been started by itself: without the frames of this file.
    def excepthook(kind, value, trace):
        while trace and trace.tb_frame.f_code in ours:
            trace = trace.tb_next
        print_exception(kind, value.with_traceback(trace), trace)
    ours = sys._getframe().f_code, sys._getframe(1).f_code
    if sys.stdout:
        sys.stdout.reconfigure(line_buffering=True)
    try:
        with open(path, "rb") as file:
            code = compile(file.read(), path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        if not isinstance(error, SyntaxError):
            error = SyntaxError(str(error))
        if error.filename is None:
            error.filename, error.lineno = path, 1
        error.__context__ = None
        print_exception(type(error), error.with_traceback(None), None)
        sys.exit(1)
    sys.excepthook = excepthook
    del space["_boot"], space["sys"]
    space["__file__"] = path
    exec(code, space)
_boot(globals())
