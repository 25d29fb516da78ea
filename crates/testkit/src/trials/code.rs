//! `run_code`: languages, detection, arguments, input, imports, size.

use crate::check::{Failure, Outcome};
use crate::context::{Context, soon};
use crate::probe::script;
use computesdk_core::{CreateOptions, FileUpload, Runtime};
use std::collections::BTreeMap;
use std::time::Duration;

trials! { "code";
    node_is_detected[Node],
    python_is_detected[Python],
    python_says_its_version[Python],
    the_standard_library_is_there[Python],
    the_sandboxs_runtime_decides[Python, Node],
    an_explicit_runtime_wins[Python, Node],
    multi_line_code_with_every_quote[Python],
    output_is_exact[Python],
    exit_codes_are_kept[Python],
    arguments_reach_python[Python],
    arguments_reach_node[Node],
    inputs_need_no_quoting[Python],
    inputs_reach_node[Node],
    results_parse_as_json[Python],
    standard_input_is_free[Python],
    env_and_cwd_reach_it[Python],
    python_imports_from_the_directory[Python, Files],
    node_requires_from_the_directory[Node, Files],
    large_python_code[Python],
    large_node_code[Node],
    code_starts_python_by_name[Python],
    callbacks_see_it_while_it_runs[Python, Streaming],
    calls_do_not_share_state[Python],
    nothing_is_left_in_the_directory[Python],
    its_time_limit_is_a_result[Python, ExecTimeout],
    pip_is_there[Python, Program("pip")],
}

async fn node_is_detected(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let result = sandbox.run_code("console.log(\"Hello, World!\")").await?;
    ensure_eq!(result.stdout, "Hello, World!\n", "the output");
    ensure_eq!(result.provider.to_string(), cx.name, "the provider");
    ensure!(result.execution_time > Duration::ZERO, "it took no time");
    Ok(())
}

async fn python_is_detected(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    for code in ["print('hello')", "import sys\nsys.stdout.write('hello\\n')", "def f():\n  print('hello')\nf()"] {
        ensure_eq!(sandbox.run_code(code).await?.stdout, "hello\n", "the output of {code:?}");
    }
    Ok(())
}

async fn python_says_its_version(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let code = "import sys\nprint(f'Python {sys.version}')\nprint('Hello from Python')";
    let result = sandbox.run_code(code).runtime(Runtime::Python).await?;
    ensure!(result.stdout.starts_with("Python 3."), "the output is {:?}", result.stdout);
    ensure!(result.stdout.ends_with("Hello from Python\n"), "the output is {:?}", result.stdout);
    ensure_eq!(result.exit_code, 0, "the code");
    Ok(())
}

async fn the_standard_library_is_there(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let code = "import json, math, datetime, re, hashlib, subprocess, threading, tempfile\n\
                print(json.dumps({'root': math.sqrt(6.25), 'year': datetime.date(2025, 8, 18).year}))";
    let value: serde_json::Value = sandbox.run_code(code).runtime(Runtime::Python).await?.json()?;
    ensure_eq!(value, serde_json::json!({ "root": 2.5, "year": 2025 }), "the value");
    Ok(())
}

async fn the_sandboxs_runtime_decides(cx: &Context) -> Outcome {
    // Valid in both languages, with no mark of either.
    let code = "x = 1\nx / 0";
    for (runtime, exit_code) in [(Runtime::Node, 0), (Runtime::Python, 1)] {
        let mut options = CreateOptions::default();
        options.runtime = Some(runtime);
        let sandbox = cx.create(options).await?;
        ensure_eq!(sandbox.run_code(code).await?.exit_code, exit_code, "the code of 1/0 under {runtime}");
    }
    Ok(())
}

async fn an_explicit_runtime_wins(cx: &Context) -> Outcome {
    let mut options = CreateOptions::default();
    options.runtime = Some(Runtime::Python);
    let sandbox = cx.create(options).await?;
    let result = sandbox.run_code("x = 1\nx / 0").runtime(Runtime::Node).await?;
    ensure_eq!(result.exit_code, 0, "the code of 1/0 under node");
    Ok(())
}

async fn multi_line_code_with_every_quote(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let code = "a = \"it's\"\nb = 'say \"hi\"'\nc = \"\"\"$HOME `id` \\\\ \\t| {a}\nnext\"\"\"\nprint(f'{a} {b}')\nprint(c)\nprint('ž🐎')\n";
    let result = sandbox.run_code(code).runtime(Runtime::Python).await?;
    ensure_eq!(result.stdout, "it's say \"hi\"\n$HOME `id` \\ \t| {a}\nnext\nž🐎\n", "the output");
    Ok(())
}

async fn output_is_exact(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let code = "import sys\nsys.stdout.buffer.write(bytes(range(256)))\nsys.stderr.write('no newline')";
    let result = sandbox.run_code(code).runtime(Runtime::Python).await?;
    ensure_eq!(result.stdout_bytes(), (0..=255).collect::<Vec<u8>>(), "standard output");
    ensure_eq!(result.stderr, "no newline", "standard error");
    Ok(())
}

async fn exit_codes_are_kept(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    for code in [0, 1, 3, 124, 255] {
        let result = sandbox.run_code(format!("import sys\nprint('kept')\nsys.exit({code})")).await?;
        ensure_eq!((result.exit_code, result.stdout.as_str()), (code, "kept\n"), "code and output");
        ensure!(!result.timed_out(), "exit code {code} was taken for a timeout");
    }
    Ok(())
}

async fn arguments_reach_python(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let code = "import sys, json\nprint(json.dumps(sys.argv[1:]))";
    let result = sandbox.run_code(code).runtime(Runtime::Python).args(["--epochs", "10", "a b", ""]).await?;
    ensure_eq!(result.json::<Vec<String>>()?, ["--epochs", "10", "a b", ""], "the arguments");
    Ok(())
}

async fn arguments_reach_node(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let code = "console.log(JSON.stringify(process.argv.slice(2)))";
    let result = sandbox.run_code(code).runtime(Runtime::Node).args(["--epochs", "10", "a b", ""]).await?;
    ensure_eq!(result.json::<Vec<String>>()?, ["--epochs", "10", "a b", ""], "the arguments");
    Ok(())
}

async fn inputs_need_no_quoting(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let inputs = serde_json::json!({ "file": "it's \"a\" \\ file\n$HOME", "list": [1, 2.5, null, true], "ž": {} });
    let code = "import json, os\nprint(json.dumps(json.load(open(os.environ['COMPUTESDK_INPUTS']))))";
    let result = sandbox.run_code(code).runtime(Runtime::Python).inputs(&inputs).await?;
    ensure_eq!(result.json::<serde_json::Value>()?, inputs, "the inputs");
    Ok(())
}

async fn inputs_reach_node(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let inputs = serde_json::json!({ "file": "it's \"a\" \\ file\n`${HOME}`", "list": [1, 2.5, null, true] });
    let code = "const inputs = JSON.parse(require('fs').readFileSync(process.env.COMPUTESDK_INPUTS))\n\
                console.log(JSON.stringify(inputs))";
    let result = sandbox.run_code(code).runtime(Runtime::Node).inputs(&inputs).await?;
    ensure_eq!(result.json::<serde_json::Value>()?, inputs, "the inputs");
    Ok(())
}

async fn results_parse_as_json(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let code = "import json\nprint(json.dumps({'mean': 2.0, 'std': 0.5}))";
    let value: BTreeMap<String, f64> = sandbox.run_code(code).await?.json()?;
    ensure_eq!(value.get("mean"), Some(&2.0), "the mean");
    ensure!(sandbox.run_code("print('no json')").await?.json::<serde_json::Value>().is_err(), "text became a value");
    Ok(())
}

async fn standard_input_is_free(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let code = "import sys\nprint(input())\nprint(len(sys.stdin.read()))";
    let result = sandbox.run_code(code).runtime(Runtime::Python).stdin("a line\n12345").await?;
    ensure_eq!(result.stdout, "a line\n5\n", "the output");
    let result = soon("no input", sandbox.run_code("import sys\nprint(len(sys.stdin.read()))")).await??;
    ensure_eq!(result.stdout, "0\n", "how much there is without any");
    Ok(())
}

async fn env_and_cwd_reach_it(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let code = "import os\nprint(os.environ['A'])\nprint(os.getcwd())";
    let result = sandbox.run_code(code).runtime(Runtime::Python).env("A", "x  y").cwd("/tmp").await?;
    ensure_eq!(result.stdout, "x  y\n/tmp\n", "the output");
    Ok(())
}

async fn python_imports_from_the_directory(cx: &Context) -> Outcome {
    let mut options = CreateOptions::default();
    options.cwd = Some("/app".into());
    options.files = vec![
        FileUpload::new("/app/helper.py", "def answer():\n    return 42\n"),
        FileUpload::new("/app/package/__init__.py", "from .inner import name\n"),
        FileUpload::new("/app/package/inner.py", "name = 'inner'\n"),
    ];
    let sandbox = cx.create(options).await?;
    let code = "import helper, package\nprint(helper.answer(), package.name)";
    ensure_eq!(sandbox.run_code(code).await?.stdout, "42 inner\n", "the output");
    Ok(())
}

async fn node_requires_from_the_directory(cx: &Context) -> Outcome {
    let mut options = CreateOptions::default();
    options.cwd = Some("/app".into());
    options.files = vec![FileUpload::new("/app/helper.js", "module.exports = { answer: () => 42 };\n")];
    let sandbox = cx.create(options).await?;
    let result = sandbox.run_code("console.log(require('./helper').answer())").await?;
    ensure_eq!((result.stdout.as_str(), result.stderr.as_str()), ("42\n", ""), "the output");
    Ok(())
}

/// Code of well over 128 KiB, the limit of one argument.
fn large(comment: &str, last: &str) -> String {
    let line = format!("{comment} {}\n", "x".repeat(77));
    format!("{}{last}\n", line.repeat(10_000))
}

async fn large_python_code(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let result = sandbox.run_code(large("#", "print('the end')")).runtime(Runtime::Python).await?;
    ensure_eq!(result.stdout, "the end\n", "the output");
    Ok(())
}

async fn large_node_code(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let result = sandbox.run_code(large("//", "console.log('the end')")).runtime(Runtime::Node).await?;
    ensure_eq!(result.stdout, "the end\n", "the output");
    Ok(())
}

async fn code_starts_python_by_name(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let code = "import subprocess\n\
                result = subprocess.run(['python', '-c', 'print(6 * 7)'], capture_output=True, text=True)\n\
                print(result.stdout, end='')";
    ensure_eq!(sandbox.run_code(code).await?.stdout, "42\n", "the output");
    Ok(())
}

async fn callbacks_see_it_while_it_runs(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    // The code ends only after its first output was seen: the callback makes the file that it waits for.
    let code = "import os, time\nprint('first', flush=True)\nwhile not os.path.exists('/tmp/go'): time.sleep(0.01)\nprint('second')";
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let mut sender = Some(sender);
    let run = async {
        let on_first = move |_: &[u8]| {
            if let Some(sender) = sender.take() {
                let _ = sender.send(());
            }
        };
        Ok::<_, Failure>(sandbox.run_code(code).on_stdout(on_first).await?)
    };
    let go = async {
        receiver.await?;
        script(&sandbox, ": > /tmp/go").await
    };
    let (result, _) = soon("output while it runs", async { tokio::try_join!(run, go) }).await??;
    ensure_eq!(result.stdout, "first\nsecond\n", "the output");
    Ok(())
}

async fn calls_do_not_share_state(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    sandbox.run_code("import os\nkept = 1\nos.environ['KEPT'] = '1'\nos.chdir('/tmp')").await?;
    let code = "import os\nprint('kept' in globals(), 'KEPT' in os.environ, os.getcwd() == '/tmp', __name__)";
    ensure_eq!(sandbox.run_code(code).await?.stdout, "False False False __main__\n", "what is left");
    Ok(())
}

async fn nothing_is_left_in_the_directory(cx: &Context) -> Outcome {
    let mut options = CreateOptions::default();
    options.cwd = Some("/work".into());
    let sandbox = cx.create(options).await?;
    sandbox.run_code("print(1)").await?;
    let result = sandbox.run_code("import os\nprint(os.listdir('.'))").await?;
    ensure_eq!(result.stdout, "[]\n", "the directory while code runs");
    ensure_eq!(script(&sandbox, "ls -A /work").await?, "", "the directory afterwards");
    Ok(())
}

async fn its_time_limit_is_a_result(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let code = "import time\nprint('kept', flush=True)\nwhile True: time.sleep(1)";
    let result = soon("the limit", sandbox.run_code(code).timeout(Duration::from_secs(2))).await??;
    ensure_eq!((result.stdout.as_str(), result.exit_code), ("kept\n", 124), "output and code");
    ensure!(result.timed_out(), "it does not say that it timed out");
    Ok(())
}

async fn pip_is_there(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let result = sandbox.run_command("pip", ["--version"]).await?;
    ensure_eq!(result.exit_code, 0, "the code ({})", result.stderr);
    ensure!(result.stdout.starts_with("pip "), "the output is {:?}", result.stdout);
    Ok(())
}
