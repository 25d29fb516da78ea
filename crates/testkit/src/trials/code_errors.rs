//! Code that fails: what does not compile is an error, everything else is a result.

use crate::check::{Outcome, refused};
use crate::context::Context;
use computesdk_core::{ErrorKind, Runtime};

trials! { "code_errors";
    code_in_no_language_is_a_syntax_error[Python],
    python_that_does_not_compile_is_a_syntax_error[Python],
    node_that_does_not_compile_is_a_syntax_error[Node],
    a_syntax_error_tells_the_line[Python],
    a_python_exception_is_a_result[Python],
    a_node_exception_is_a_result[Node],
    a_syntax_error_at_run_time_is_a_result[Python],
    a_syntax_error_of_an_import_is_a_result[Python],
    a_json_error_of_node_is_a_result[Node],
    printed_syntax_errors_are_results[Python],
    an_undefined_name_is_a_result[Python],
    a_killed_interpreter_is_a_result[Python],
    an_undeclared_runtime_is_unsupported,
}

async fn code_in_no_language_is_a_syntax_error(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    for code in ["invalid syntax here!!!", "invalid python code"] {
        let error = refused(code, ErrorKind::SyntaxError, sandbox.run_code(code).await)?;
        ensure!(error.to_string().starts_with("Syntax error"), "the text is {error}");
    }
    Ok(())
}

async fn python_that_does_not_compile_is_a_syntax_error(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    for code in ["print(1", "def f():\nprint(1)", "if True:\n\tx = 1\n        y = 2", "return 1", "print('a)"] {
        let result = sandbox.run_code(code).runtime(Runtime::Python).await;
        let error = refused(code, ErrorKind::SyntaxError, result)?;
        ensure!(error.to_string().starts_with("Syntax error"), "the text is {error}");
    }
    Ok(())
}

async fn node_that_does_not_compile_is_a_syntax_error(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    for code in ["const x = {", "console.log('a'", "let let = 1; const"] {
        let result = sandbox.run_code(code).runtime(Runtime::Node).await;
        let error = refused(code, ErrorKind::SyntaxError, result)?;
        ensure!(error.to_string().starts_with("Syntax error"), "the text is {error}");
    }
    Ok(())
}

async fn a_syntax_error_tells_the_line(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let code = "print('never printed')\n\nx = = 1\n";
    let error = refused(code, ErrorKind::SyntaxError, sandbox.run_code(code).await)?;
    ensure!(error.report().contains("line 3") || error.context_value("line") == Some("3"), "no line in {error:?}");
    Ok(())
}

/// Exit code 1 with this text on standard error, as a result.
async fn fails_with(cx: &Context, code: &str, runtime: Option<Runtime>, text: &str) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let call = sandbox.run_code(code);
    let result = match runtime {
        Some(runtime) => call.runtime(runtime).await?,
        None => call.await?,
    };
    ensure_eq!(result.exit_code, 1, "the code of {code:?}");
    ensure!(result.stderr.contains(text), "stderr of {code:?} has no {text:?}: {:?}", result.stderr);
    Ok(())
}

async fn a_python_exception_is_a_result(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let code = "print('before')\nraise ValueError('the reason')";
    let result = sandbox.run_code(code).runtime(Runtime::Python).await?;
    ensure_eq!((result.stdout.as_str(), result.exit_code), ("before\n", 1), "output and code");
    ensure!(result.stderr.contains("Traceback"), "stderr has no traceback: {:?}", result.stderr);
    ensure!(result.stderr.ends_with("ValueError: the reason\n"), "stderr ends with {:?}", result.stderr);
    ensure!(result.stderr.contains("line 2"), "stderr does not tell the line: {:?}", result.stderr);
    Ok(())
}

async fn a_node_exception_is_a_result(cx: &Context) -> Outcome {
    fails_with(cx, "throw new Error(\"Test error\")", None, "Error: Test error").await
}

async fn a_syntax_error_at_run_time_is_a_result(cx: &Context) -> Outcome {
    fails_with(cx, "eval('1+')", Some(Runtime::Python), "SyntaxError").await?;
    fails_with(cx, "raise SyntaxError('mine')", Some(Runtime::Python), "SyntaxError: mine").await?;
    fails_with(cx, "compile('x = = 1', 'f', 'exec')", Some(Runtime::Python), "SyntaxError").await
}

async fn a_syntax_error_of_an_import_is_a_result(cx: &Context) -> Outcome {
    let code = "open('/tmp/broken_module.py', 'w').write('x = = 1')\n\
                import sys\nsys.path.insert(0, '/tmp')\nimport broken_module";
    fails_with(cx, code, Some(Runtime::Python), "SyntaxError").await
}

async fn a_json_error_of_node_is_a_result(cx: &Context) -> Outcome {
    fails_with(cx, "JSON.parse('{')", Some(Runtime::Node), "SyntaxError").await?;
    fails_with(cx, "eval('1+')", Some(Runtime::Node), "SyntaxError").await
}

async fn printed_syntax_errors_are_results(cx: &Context) -> Outcome {
    let code = "import sys\nprint('SyntaxError: invalid syntax', file=sys.stderr)\nsys.exit(1)";
    fails_with(cx, code, Some(Runtime::Python), "SyntaxError: invalid syntax").await?;
    let sandbox = cx.sandbox().await?;
    let result = sandbox.run_code("import sys\nprint('SyntaxError: x', file=sys.stderr)").await?;
    ensure_eq!(result.exit_code, 0, "the code");
    Ok(())
}

async fn an_undefined_name_is_a_result(cx: &Context) -> Outcome {
    fails_with(cx, "import json\nprint(model)", None, "NameError").await
}

async fn a_killed_interpreter_is_a_result(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let result = sandbox.run_code("import os\nprint('x', flush=True)\nos.kill(os.getpid(), 9)").await?;
    ensure_eq!((result.stdout.as_str(), result.exit_code), ("x\n", 137), "output and code");
    ensure_eq!(sandbox.run_code("print('again')").await?.stdout, "again\n", "the next call");
    Ok(())
}

async fn an_undeclared_runtime_is_unsupported(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    for runtime in [Runtime::Python, Runtime::Node] {
        let result = sandbox.run_code("1").runtime(runtime).await;
        if cx.capabilities.runtimes.contains(&runtime) {
            ensure_eq!(result?.exit_code, 0, "the code under {runtime}");
        } else {
            refused(runtime.as_str(), ErrorKind::Unsupported, result)?;
        }
    }
    Ok(())
}
