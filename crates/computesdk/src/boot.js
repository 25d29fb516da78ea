{
  const Module = require('module'), vm = require('vm');
  const file = process.argv[1];
  const source = require('fs').readFileSync(file, 'utf8');
  const place = require('path').join(process.cwd(), 'main.js');
  const { pathToFileURL } = require('url');
  const main = pathToFileURL(file).href, base = pathToFileURL(place).href;
  // What the program imports is looked up from the working directory, as with `node -e`.
  const rebase = () => {
    const hook = (next, specifier, context) =>
      next(specifier, context.parentURL === main ? { ...context, parentURL: base } : context);
    if (Module.registerHooks) {
      Module.registerHooks({
        resolve(specifier, context, next) {
          const found = hook(next, specifier, context);
          return specifier === main ? { ...found, format: 'module' } : found;
        },
      });
    } else if (Module.register) {
      const text = `const main = ${JSON.stringify(main)}, base = ${JSON.stringify(base)}, hook = ${hook};
        export async function resolve(specifier, context, next) {
          const found = await hook(next, specifier, context);
          return specifier === main ? { ...found, format: 'module' } : found;
        }`;
      Module.register('data:text/javascript,' + encodeURIComponent(text));
    }
  };
  const only = /Cannot use import statement outside a module|Unexpected token 'export'|'import\.meta'|await is only valid/;
  let problem;
  try {
    vm.compileFunction(source, ['exports', 'require', 'module', '__filename', '__dirname'], { filename: file });
  } catch (error) {
    problem = error;
  }
  if (problem && only.test(problem.message)) {
    rebase();
    import(main);
  } else if (problem) {
    process.stderr.write(problem.stack.replace(/\n    at .*/g, '') + '\n');
    process.exitCode = 1;
  } else {
    if (source.includes('import(')) rebase();
    const program = new Module('.', null);
    program.filename = place;
    program.paths = Module._nodeModulePaths(process.cwd());
    process.mainModule = program;
    program._compile(source, file);
    program.loaded = true;
  }
}
