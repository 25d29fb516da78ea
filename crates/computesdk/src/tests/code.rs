use super::{runs, sandbox, unique_seconds, until};
use crate::{ErrorKind, Runtime, SyntaxErrorDetails};
use futures_util::future::{Either, select};
use std::future::IntoFuture as _;
use std::time::Duration;

#[tokio::test]
async fn python_sees_itself_as_a_script() {
    let sandbox = sandbox().await;
    let code = r#"
import json, os, sys
def f(): pass
print(json.dumps([sys.argv[0] == __file__, sys.argv[1:], sys.path[0], __name__, os.path.basename(__file__),
                  os.path.exists(__file__), "_boot" in globals(), sys.stdin.read()]))
sys.exit(5)
"#;
    let result = sandbox.run_code(code).args(["a b", "--c"]).stdin("mine").await.unwrap();
    assert_eq!(result.exit_code, 5, "{}", result.stderr);
    let told: serde_json::Value = result.json().unwrap();
    assert_eq!(told, serde_json::json!([true, ["a b", "--c"], "", "__main__", "main.py", true, false, "mine"]));
}

#[tokio::test]
async fn imports_start_at_the_working_directory() {
    let sandbox = sandbox().await;
    let files = sandbox.filesystem();
    let place = format!("/tmp/computesdk-test-{}", unique_seconds());
    files.write_file(&format!("{place}/mine.py"), "x = 41").await.unwrap();
    files.write_file(&format!("{place}/mine.js"), "exports.x = 42").await.unwrap();
    files.write_file(&format!("{place}/other.mjs"), "export const x = 43").await.unwrap();
    let python = sandbox.run_code("import mine\nprint(mine.x)").cwd(&place).await.unwrap();
    let node = sandbox.run_code("console.log(require('./mine').x, require.main === module)").cwd(&place).await.unwrap();
    let module = sandbox.run_code("import { x } from './other.mjs';\nawait 1;\nconsole.log(x);").cwd(&place);
    let module = module.runtime(Runtime::Node).await.unwrap();
    files.remove(&place).await.unwrap();
    assert_eq!((&*python.stdout, &*python.stderr), ("41\n", ""));
    assert_eq!((&*node.stdout, &*node.stderr), ("42 true\n", ""));
    assert_eq!((&*module.stdout, &*module.stderr), ("43\n", ""));
}

#[tokio::test]
async fn tracebacks_show_the_program_and_nothing_of_ours() {
    let result = sandbox().await.run_code("def f():\n    1/0\nf()").await.unwrap();
    let lines: Vec<&str> = result.stderr.lines().collect();
    assert_eq!(lines[0], "Traceback (most recent call last):");
    assert!(lines[1].contains("/main.py\", line 3, in <module>") && lines[2] == "    f()", "{}", result.stderr);
    assert!(result.stderr.ends_with("ZeroDivisionError: division by zero\n") && result.exit_code == 1);
    let result = sandbox().await.run_code("\nthrow new Error('Test error')").await.unwrap();
    assert!(result.stderr.contains("/main.js:2\nthrow new Error('Test error')\n"), "{}", result.stderr);
}

#[tokio::test]
async fn a_program_that_does_not_compile_is_an_error_with_details() {
    let sandbox = sandbox().await;
    for (code, runtime, line, text) in [
        ("invalid syntax here!!!", None, 1, "invalid syntax"),
        ("invalid python code", None, 1, "invalid syntax"),
        ("x = 1\nif x:\ny", None, 3, "IndentationError"),
        ("if 1:\n\tx = 1\n        y = 2\n", None, 3, "TabError"),
        ("x = '\0'", Some(Runtime::Python), 1, "null bytes"),
        ("const a = 1;\nlet b = ;", None, 2, "Unexpected token"),
        ("\nexport const x = ;", None, 2, "Unexpected token"),
        ("import { nope } from 'fs';", None, 1, "does not provide an export"),
    ] {
        let run = sandbox.run_code(code);
        let error = if let Some(runtime) = runtime { run.runtime(runtime) } else { run }.await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::SyntaxError, "{code:?}: {error}");
        assert!(error.to_string().starts_with("Syntax error: ") && error.to_string().contains(text), "{error}");
        assert!(!error.to_string().contains("[eval]"), "{error}");
        let details = SyntaxErrorDetails::of(&error).unwrap();
        assert_eq!((details.line, details.exit_code), (Some(line), 1), "{error}");
        assert!(details.stderr.contains("Error: "), "{details:?}");
    }
}

#[tokio::test]
async fn everything_that_ran_is_a_result() {
    let sandbox = sandbox().await;
    for (code, runtime) in [
        ("eval('1+')", Runtime::Python),
        ("raise SyntaxError", Runtime::Python),
        ("raise SyntaxError('invalid syntax', (__file__, 1, 1, 'x'))", Runtime::Python),
        ("import sys; sys.stderr.write('SyntaxError: x\\n'); sys.exit(1)", Runtime::Python),
        ("import sys; sys.exit('SyntaxError: x')", Runtime::Python),
        ("x", Runtime::Python),
        ("JSON.parse('{')", Runtime::Node),
        ("eval('1+')", Runtime::Node),
        ("throw new SyntaxError('x')", Runtime::Node),
        ("const e = new SyntaxError('x'); e.stack = 'SyntaxError: x'; throw e", Runtime::Node),
        ("Promise.reject(new SyntaxError('x'))", Runtime::Node),
        ("setTimeout(eval, 0, '1+')", Runtime::Node),
        ("import 'fs'; JSON.parse('{')", Runtime::Node),
        ("console.error('SyntaxError: x'); process.exit(1)", Runtime::Node),
    ] {
        let result = sandbox.run_code(code).runtime(runtime).await.unwrap();
        assert_eq!(result.exit_code, 1, "{code:?}: {}", result.stderr);
    }
}

#[tokio::test]
async fn code_of_any_size_and_content_arrives() {
    let sandbox = sandbox().await;
    let filler = "# $HOME `id` 'quotes\" \\ ü\n".repeat(40_000);
    let code = format!("{filler}import sys\nprint(len(open(__file__, 'rb').read()))\nsys.stdout.write('\\u00fc\\x00')");
    let result = sandbox.run_code(code.clone()).await.unwrap();
    assert_eq!(result.stdout, format!("{}\nü\0", code.len()));
}

#[tokio::test]
async fn inputs_are_data() {
    let sandbox = sandbox().await;
    let inputs = serde_json::json!({ "file": "it's \"quoted\" \\ $HOME\n\u{2028}", "n": [1, 2] });
    let python = "import json, os\nprint(json.dumps(json.load(open(os.environ['COMPUTESDK_INPUTS']))))";
    let node = "console.log(require('fs').readFileSync(process.env.COMPUTESDK_INPUTS, 'utf8'))";
    for code in [python, node] {
        let result = sandbox.run_code(code).inputs(&inputs).await.unwrap();
        assert_eq!(result.json::<serde_json::Value>().unwrap(), inputs, "{}", result.stderr);
    }
    let not_json = std::collections::BTreeMap::from([(vec![1], 1)]);
    let error = sandbox.run_code("1").inputs(&not_json).await.unwrap_err();
    assert_eq!(error.context_value("field"), Some("inputs"));
}

#[tokio::test]
async fn nothing_is_left_behind() {
    let sandbox = sandbox().await;
    let place = sandbox.run_code("print(__file__)").await.unwrap().stdout;
    assert!(!sandbox.filesystem().exists(place.trim()).await.unwrap(), "{place}");
    let error = sandbox.run_code("(").await.unwrap_err().to_string();
    let place = error.split('"').nth(1).unwrap();
    assert!(place.ends_with("/main.py") && !std::path::Path::new(place).exists(), "{place}");
    // Spawned: removed when it has ended.
    let result = sandbox.run_code("print(__file__)").spawn().await.unwrap().wait_with_output().await.unwrap();
    until("removed", || !std::path::Path::new(result.stdout.trim()).exists()).await;
}

#[tokio::test]
async fn a_dropped_run_is_killed_and_its_files_removed() {
    let sandbox = sandbox().await;
    let seconds = unique_seconds();
    let mut place = Vec::new();
    let code = format!("import subprocess\nprint(__file__)\nsubprocess.run(['sleep', '{seconds}'])");
    let run = sandbox.run_code(code).on_stdout(|bytes| place.extend_from_slice(bytes)).into_future();
    let running = until("started", || runs(&seconds));
    assert!(matches!(select(run, Box::pin(running)).await, Either::Right(_)), "it ended by itself");
    let place = String::from_utf8(place).unwrap();
    assert!(place.ends_with("/main.py\n"), "{place}");
    until("killed", || !runs(&seconds)).await;
    until("removed", || !std::path::Path::new(place.trim()).exists()).await;
}

#[tokio::test]
async fn output_up_to_the_time_limit_is_kept() {
    let code = "import time\nprint('before')\ntime.sleep(600)";
    let result = sandbox().await.run_code(code).timeout(Duration::from_secs(4)).await.unwrap();
    assert_eq!((&*result.stdout, result.exit_code), ("before\n", 124));
}

#[tokio::test]
async fn twenty_programs_at_once_do_not_collide() {
    let sandbox = sandbox().await;
    let runs = (0..20).map(|n| sandbox.run_code(format!("import time; time.sleep(0.05); print({n})")).into_future());
    for (n, result) in futures_util::future::join_all(runs).await.into_iter().enumerate() {
        assert_eq!(result.unwrap().stdout, format!("{n}\n"));
    }
}

#[tokio::test]
async fn a_missing_interpreter_is_an_error_that_names_it() {
    let sandbox = sandbox().await;
    let error = sandbox.run_code("console.log(1)").env("PATH", "/nowhere").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    assert!(error.to_string().contains("`node`") && error.hint().is_some(), "{error}");
}
