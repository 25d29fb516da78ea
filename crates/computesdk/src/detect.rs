//! Which language a program is written in.
//!
//! The JavaScript SDK looks for words anywhere in the text, so that `subprocess.run` is JavaScript (`process.`) and
//! `import fs from "fs"` is Python. Here the first line that only one of the two languages can have decides; the SDK's
//! words decide only where there is no such line.

use computesdk_core::Runtime::{self, Node, Python};

/// The language that this code looks like; `None` if it could be either.
///
/// It is a guess: give [`RunCode::runtime`](crate::RunCode::runtime) where you know.
///
/// ```
/// use computesdk::{Runtime, detect_runtime};
///
/// assert_eq!(detect_runtime("console.log(1)"), Some(Runtime::Node));
/// assert_eq!(detect_runtime("import subprocess\nsubprocess.run(['ls'])"), Some(Runtime::Python));
/// assert_eq!(detect_runtime("x = 1"), None);
/// ```
#[must_use]
pub fn detect_runtime(code: &str) -> Option<Runtime> {
    runtime(code)
}

/// See [`detect_runtime`].
pub(crate) fn runtime(code: &str) -> Option<Runtime> {
    code.lines().find_map(|text| line(text.trim())).or_else(|| words(code))
}

/// The language of a line that the other one does not have.
fn line(line: &str) -> Option<Runtime> {
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| line.starts_with(prefix));
    if let Some(interpreter) = line.strip_prefix("#!") {
        return if interpreter.contains("node") {
            Some(Node)
        } else {
            interpreter.contains("python").then_some(Python)
        };
    }
    // `import x from "y"` needs quotes in JavaScript, and Python's has none. More may follow on the line.
    if starts(&["import ", "import{"]) {
        let statement = line.split(';').next().unwrap_or_default();
        let quoted = statement.contains(['"', '\'', '{', '*']);
        return Some(if quoted { Node } else { Python });
    }
    if line.starts_with("from ") && line.contains(" import ") {
        return Some(Python);
    }
    let word = line.split([' ', ':', '(', '{']).next().unwrap_or_default();
    if line.ends_with('{') && ["if", "for", "while", "try", "else", "switch", "do", "class"].contains(&word) {
        return Some(Node);
    }
    let blocks = ["if", "for", "while", "try", "else", "elif", "except", "finally", "with", "class", "match"];
    if line.ends_with(':') && blocks.contains(&word) {
        return Some(Python);
    }
    if starts(&["def ", "async def ", "print(", "raise ", "elif ", "except ", "# ", "\"\"\"", "'''", "del ", "@"]) {
        return Some(Python);
    }
    let node = [
        "const ",
        "let ",
        "var ",
        "function ",
        "function(",
        "async function",
        "export ",
        "console.",
        "throw ",
        "//",
        "/*",
        "module.exports",
        "exports.",
        "'use strict'",
        "\"use strict\"",
        "new Promise",
        "require(",
    ];
    starts(&node).then_some(Node)
}

/// The words of the JavaScript SDK, the ones for Node not as the end of a longer word.
fn words(code: &str) -> Option<Runtime> {
    const NODE: [&str; 8] = [
        "console.log",
        "process.",
        "require(",
        "module.exports",
        "__dirname",
        "__filename",
        "throw new Error",
        "new Error(",
    ];
    const PYTHON: [&str; 9] = ["print(", "import ", "def ", "sys.", "json.", "__", "f\"", "f'", "raise "];
    let whole = |word: &str| {
        code.match_indices(word)
            .any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '.'))
    };
    if NODE.iter().any(|word| whole(word)) {
        return Some(Node);
    }
    PYTHON.iter().any(|word| code.contains(word)).then_some(Python)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table() {
        let table: &[(&str, Option<Runtime>)] = &[
            // The SDK's own conformance suite and README.
            ("console.log(\"Hello, World!\")", Some(Node)),
            ("throw new Error(\"Test error\")", Some(Node)),
            ("invalid syntax here!!!", None),
            ("invalid python code", None),
            ("print(\"Hello from real Modal sandbox!\")", Some(Python)),
            ("\nimport torch\nimport numpy as np\n\nprint(f\"CUDA: {torch.cuda.is_available()}\")", Some(Python)),
            ("\nimport subprocess\nresult = subprocess.run(['python', '/x.py'])\nprint(result.stdout)", Some(Python)),
            ("import json\nprint(json.dumps({}))", Some(Python)),
            // Code that says nothing.
            ("", None),
            ("x = 1", None),
            ("1/0", None),
            // Python.
            ("raise ValueError(\"x\")", Some(Python)),
            ("def f():\n  return 1\nf()", Some(Python)),
            ("for i in range(3):\n    x = i", Some(Python)),
            ("class A:\n    x = 1", Some(Python)),
            ("# a comment\nx = 1", Some(Python)),
            ("\"\"\"About console.log(1).\"\"\"\nx = 1", Some(Python)),
            ("x = json.dumps({})", Some(Python)),
            ("import os; print(os.environ['A'], {'b': 1})", Some(Python)),
            ("import fs from 'fs'; console.log(1)", Some(Node)),
            ("password = 1", None),
            ("x = {\n  'a': f'{1}',\n}", Some(Python)),
            ("subprocess.run(['ls'])", None),
            ("with open('x') as f:\n    process.wait()", Some(Python)),
            ("import subprocess\nsubprocess.run(['node', '-e', 'console.log(1)'])", Some(Python)),
            ("from os import path", Some(Python)),
            ("#!/usr/bin/env python3\nconsole.log", Some(Python)),
            // JavaScript.
            ("const fs = require('fs')", Some(Node)),
            ("import fs from 'fs';\nfs.x", Some(Node)),
            ("import {\n  x,\n} from './y.js'", Some(Node)),
            ("import * as fs from \"fs\"", Some(Node)),
            ("export const x = 1", Some(Node)),
            ("// print( and import \nx = 1", Some(Node)),
            ("class A {\n  constructor() { this.x = f\"\" }\n}", Some(Node)),
            ("if (true) {\n  process.exit(3)\n}", Some(Node)),
            ("[1].map(x => process.env.X)", Some(Node)),
            ("const code = `\nimport os\nprint(1)\n`", Some(Node)),
            ("x = __dirname", Some(Node)),
            ("#!/usr/bin/env node\nprint(1)", Some(Node)),
        ];
        for (code, expected) in table {
            assert_eq!(runtime(code), *expected, "{code:?}");
        }
    }
}
