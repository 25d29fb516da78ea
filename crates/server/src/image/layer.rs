//! One layer: instructions applied, in order, to the image that FROM names.

use super::lines::{Instruction, parse};
use super::place::{Place, name_and_tag, replaced};
use super::words::{MOST_VALUE, expand, split};
use super::{BuildError, Context, ImageConfig, stock};
use std::collections::{BTreeMap, HashMap};

/// All variables together, names and values: more no program could be given.
const MOST_ENV: usize = 1 << 20;
const MICROMAMBA_SHELL: &str = "/usr/local/bin/_dockerfile_shell.sh";

/// [`super::build`].
pub(super) fn build(
    base: Option<&ImageConfig>,
    lines: &[String],
    build_args: &HashMap<String, String>,
    context: Context,
    place: &Place<'_>,
) -> Result<ImageConfig, BuildError> {
    let parsed = parse(lines);
    let mut layer = Layer {
        base,
        build_args,
        context,
        place,
        image: None,
        cmd_set: false,
        args: BTreeMap::new(),
        global: BTreeMap::new(),
    };
    for instruction in &parsed.instructions {
        let wrong = |reason| BuildError { line_number: instruction.number, line: instruction.text.clone(), reason };
        layer.apply(instruction).map_err(wrong)?;
    }
    let Some(mut image) = layer.image else {
        let line = parsed.instructions.last().map_or("", |instruction| &instruction.text);
        let line_number = parsed.instructions.last().map_or(1, |instruction| instruction.number);
        return Err(BuildError {
            line_number,
            line: line.to_owned(),
            reason: "is the last line, and none is FROM".to_owned(),
        });
    };
    if let Some(escape) = parsed.escape.filter(|escape| escape != "\\") {
        image.notices.push(format!("`# escape={escape}` is ignored: lines continue after a backslash"));
    }
    Ok(image)
}

struct Layer<'a> {
    base: Option<&'a ImageConfig>,
    build_args: &'a HashMap<String, String>,
    context: Context,
    place: &'a Place<'a>,
    /// From FROM on.
    image: Option<ImageConfig>,
    /// ENTRYPOINT forgets a CMD of the image below only.
    cmd_set: bool,
    /// ARG since FROM.
    args: BTreeMap<String, String>,
    /// ARG before FROM.
    global: BTreeMap<String, String>,
}

impl Layer<'_> {
    fn apply(&mut self, instruction: &Instruction) -> Result<(), String> {
        let Instruction { keyword, rest, text, .. } = instruction;
        match keyword.as_str() {
            "FROM" => return self.from(rest),
            "ARG" => return self.arg(rest),
            _ => {}
        }
        if self.image.is_none() {
            return Err("comes before FROM".to_owned());
        }
        if matches!(keyword.as_str(), "RUN" | "COPY" | "ADD") && split(rest).iter().any(|word| is_heredoc(word)) {
            return Err("starts a heredoc (`<<`), and heredocs are not read here".to_owned());
        }
        match keyword.as_str() {
            "ENV" => self.env(rest),
            "WORKDIR" => self.workdir(rest),
            "CMD" => {
                let cmd = self.command(keyword, rest)?;
                self.cmd_set = true;
                self.image()?.cmd = cmd;
                Ok(())
            }
            "ENTRYPOINT" => {
                let entrypoint = self.command(keyword, rest)?;
                let keep = self.cmd_set;
                let image = self.image()?;
                image.entrypoint = entrypoint;
                if !keep {
                    image.cmd.clear();
                }
                Ok(())
            }
            "SHELL" => self.shell(rest),
            "USER" => match self.expand(rest)?.as_str() {
                "root" | "0" | "root:root" | "0:0" | "0:root" | "root:0" => Ok(()),
                _ => Err("cannot be kept: programs run as root in the sandbox".to_owned()),
            },
            "RUN" => {
                let notices = stock::run(rest, self.place)?;
                self.image()?.notices.extend(notices);
                Ok(())
            }
            "COPY" => match stock::copy(rest, self.context, self.place) {
                Some(notices) => {
                    self.image()?.notices.extend(notices);
                    Ok(())
                }
                None => Err("cannot be done: this server does not build images yet".to_owned()),
            },
            "ADD" | "VOLUME" | "ONBUILD" => Err("cannot be done: this server does not build images yet".to_owned()),
            "LABEL" | "EXPOSE" | "STOPSIGNAL" | "MAINTAINER" | "HEALTHCHECK" => {
                self.image()?.notices.push(format!("`{text}` is ignored: {keyword} means nothing to a sandbox"));
                Ok(())
            }
            _ => Err(format!("is no line of a Dockerfile that is known here: there is no instruction {keyword}")),
        }
    }

    fn from(&mut self, rest: &str) -> Result<(), String> {
        if self.image.is_some() {
            return Err("is a second FROM: builds in several stages are not done here".to_owned());
        }
        let words = split(rest);
        let flags = words.iter().take_while(|word| word.starts_with("--")).count();
        let mut notices = Vec::new();
        for flag in &words[..flags] {
            match flag.strip_prefix("--platform=") {
                Some(_) => notices.push(format!("`{flag}` is ignored: the platform is this provider's")),
                None => return Err(format!("has an option that is not known here: {flag}")),
            }
        }
        let image = match &words[flags..] {
            [image] => image,
            [image, r#as, _] if r#as.eq_ignore_ascii_case("as") => image,
            [] => return Err("needs an image, as in `FROM debian`".to_owned()),
            _ => return Err("is not of the form `FROM IMAGE` or `FROM IMAGE AS NAME`".to_owned()),
        };
        let global = &self.global;
        let image = expand(image, &|name| global.get(name).cloned())?;
        if image.is_empty() {
            return Err("needs an image, and its variables are empty".to_owned());
        }
        let mut config = match self.base {
            Some(base) if image == "base" => base.clone(),
            None if image == "base" => return Err("means the layer below, and there is none".to_owned()),
            _ => ImageConfig { notices: replaced(&image, self.place), base: image, ..ImageConfig::default() },
        };
        config.notices.extend(notices);
        self.image = Some(config);
        Ok(())
    }

    fn arg(&mut self, rest: &str) -> Result<(), String> {
        let words = split(rest);
        if words.is_empty() {
            return Err("needs a name, as in `ARG NAME=default`".to_owned());
        }
        for word in words {
            let (name, default) = match word.split_once('=') {
                Some((name, value)) => (name, Some(self.expand(value)?)),
                None => (word.as_str(), None),
            };
            check_name(name)?;
            let global = self.image.as_ref().and_then(|_| self.global.get(name).cloned());
            let value = self.build_args.get(name).cloned().or(default).or(global);
            let Some(value) = value else { continue };
            let scope = if self.image.is_some() { &mut self.args } else { &mut self.global };
            scope.insert(name.to_owned(), value);
            bounded(scope)?;
        }
        Ok(())
    }

    fn env(&mut self, rest: &str) -> Result<(), String> {
        let words = split(rest);
        let Some(first) = words.first() else {
            return Err("needs a name and a value, as in `ENV NAME=value`".to_owned());
        };
        let mut set = Vec::new();
        if first.contains('=') {
            for word in &words {
                let Some((name, value)) = word.split_once('=') else {
                    return Err(format!("has `{word}` without a `=`"));
                };
                set.push((self.expand(name)?, self.expand(value)?));
            }
        } else {
            // The old form: one name, and all the rest is its value.
            let value = rest.split_once(char::is_whitespace).map(|(_, value)| value.trim());
            let value = value.ok_or("needs a value, as in `ENV NAME=value`")?;
            set.push((self.expand(first)?, self.expand(value)?));
        }
        let image = self.image()?;
        for (name, value) in set {
            check_name(&name)?;
            image.env.insert(name, value);
        }
        bounded(&image.env)
    }

    fn workdir(&mut self, rest: &str) -> Result<(), String> {
        let dir = self.expand(rest)?;
        if dir.is_empty() {
            return Err("needs a directory".to_owned());
        }
        let image = self.image()?;
        let joined =
            if dir.starts_with('/') { dir } else { format!("{}/{dir}", image.workdir.as_deref().unwrap_or("")) };
        let mut parts: Vec<&str> = Vec::new();
        for part in joined.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                part => parts.push(part),
            }
        }
        let workdir = format!("/{}", parts.join("/"));
        if workdir.len() > 4095 {
            return Err("makes a path of more than 4095 bytes".to_owned());
        }
        image.workdir = Some(workdir);
        Ok(())
    }

    fn shell(&mut self, rest: &str) -> Result<(), String> {
        let shell = exec_form(rest)?.filter(|shell| !shell.is_empty());
        let shell = shell.ok_or("needs a list of words, as in `SHELL [\"/bin/bash\", \"-c\"]`")?;
        let image = self.image()?;
        // The shell of micromamba's image is a script in it, which the image in its place does not have.
        if shell[0] == MICROMAMBA_SHELL && name_and_tag(&image.base).0 == "micromamba" {
            image.notices.push(format!("`SHELL {rest}` is ignored: that shell belongs to {}", image.base));
            return Ok(());
        }
        image.shell = shell;
        Ok(())
    }

    /// The words of CMD or ENTRYPOINT, in either form.
    fn command(&mut self, keyword: &str, rest: &str) -> Result<Vec<String>, String> {
        if rest.is_empty() {
            return Err(format!("needs a command, or `{keyword} []` for none"));
        }
        if let Some(words) = exec_form(rest)? {
            return Ok(words);
        }
        let shell = &self.image()?.shell;
        let mut words = if shell.is_empty() { vec!["/bin/sh".to_owned(), "-c".to_owned()] } else { shell.clone() };
        words.push(rest.to_owned());
        Ok(words)
    }

    fn expand(&self, word: &str) -> Result<String, String> {
        let lookup = |name: &str| match &self.image {
            Some(image) => image
                .env
                .get(name)
                .or_else(|| self.args.get(name))
                .cloned()
                .or_else(|| (name == "PATH").then(|| self.place.path.to_owned())),
            None => self.global.get(name).cloned(),
        };
        expand(word, &lookup)
    }

    fn image(&mut self) -> Result<&mut ImageConfig, String> {
        self.image.as_mut().ok_or_else(|| "comes before FROM".to_owned())
    }
}

/// A list of words in JSON: `None` if it is none, and so the shell's.
fn exec_form(rest: &str) -> Result<Option<Vec<String>>, String> {
    let Ok(words) = serde_json::from_str::<Vec<String>>(rest) else { return Ok(None) };
    if words.iter().any(|word| word.contains('\0')) {
        return Err("has a zero byte, which no program can be given".to_owned());
    }
    Ok(Some(words))
}

/// `<<EOF`, `<<-"EOF"`, `3<<EOF`.
fn is_heredoc(word: &str) -> bool {
    let Some(end) = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<") else { return false };
    let end = end.strip_prefix('-').unwrap_or(end);
    end.trim_start_matches(['"', '\'']).starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
}

fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.contains(['=', '\0']) || name.chars().any(char::is_whitespace) {
        return Err("names no variable".to_owned());
    }
    Ok(())
}

fn bounded(variables: &BTreeMap<String, String>) -> Result<(), String> {
    if variables.iter().any(|(_, value)| value.len() > MOST_VALUE) {
        return Err(format!("makes a value of more than {} KiB", MOST_VALUE >> 10));
    }
    if variables.iter().map(|(name, value)| name.len() + value.len() + 2).sum::<usize>() > MOST_ENV {
        return Err(format!("makes more than {} MiB of variables", MOST_ENV >> 20));
    }
    Ok(())
}
