//! The real binary in a directory of its own: commands as a person types them, and a server as an operator runs it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

/// A directory in which grantd is used, with settings for tests in its environment.
pub(crate) struct Home {
    directory: TempDir,
    environment: Vec<(String, String)>,
}

impl Home {
    /// An empty directory; the server takes free ports and hashes cheaply.
    pub(crate) fn new(environment: &[(&str, &str)]) -> Self {
        let mut all = vec![
            ("GRANTD_SERVER__LISTEN", "127.0.0.1:0"),
            ("GRANTD_MANAGEMENT__LISTEN", ""),
            ("GRANTD_SERVER__WORKERS", "2"),
            ("GRANTD_PASSWORDS__MEMORY_KIB", "64"),
            ("GRANTD_PASSWORDS__ITERATIONS", "1"),
        ];
        all.extend_from_slice(environment);
        let environment = all.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self { directory: tempfile::tempdir().expect("a temporary directory"), environment }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        self.command_under(&[], arguments)
    }

    /// The binary as another program starts it: `strace` and its options, or nothing.
    fn command_under(&self, starter: &[&str], arguments: &[&str]) -> Command {
        let mut words = starter.iter().copied().chain([env!("CARGO_BIN_EXE_grantd")]);
        let mut command = Command::new(words.next().expect("at least the binary"));
        command.args(words).args(arguments);
        self.furnish(command)
    }

    fn furnish(&self, mut command: Command) -> Command {
        command.current_dir(self.path()).env_clear();
        command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        for (name, value) in &self.environment {
            command.env(name, value);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command to its end with `input` on its stdin.
    pub(crate) fn run_with(&self, arguments: &[&str], input: &str) -> Ended {
        let mut child = self.command(arguments).spawn().expect("the binary starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        // A command that does not read is no fault of the test.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        Ended::of(child.wait_with_output().expect("the binary ends"))
    }

    /// Runs a command under another program to its end.
    pub(crate) fn run_under(&self, starter: &[&str], arguments: &[&str]) -> Ended {
        let child = self.command_under(starter, arguments).spawn().expect("the binary starts");
        Ended::of(child.wait_with_output().expect("the binary ends"))
    }

    /// Runs a command and kills it `after` a while, if it has not ended by then.
    pub(crate) fn run_and_kill(&self, arguments: &[&str], after: Duration) -> Ended {
        let mut child = self.command(arguments).spawn().expect("the binary starts");
        std::thread::sleep(after);
        let _ended_already = child.kill();
        Ended::of(child.wait_with_output().expect("the binary ends"))
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        self.run_with(arguments, "")
    }

    /// Runs a command that must succeed and gives its JSON.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        self.json_with(arguments, "")
    }

    /// The same with `input` on its stdin.
    pub(crate) fn json_with(&self, arguments: &[&str], input: &str) -> Value {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        let ended = self.run_with(&arguments, input);
        assert_eq!(ended.status, 0, "{arguments:?}: {ended:?}");
        serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error} in {ended:?}"))
    }

    /// Starts `serve`, or another command that serves, and waits until it listens.
    pub(crate) fn serve(&self, arguments: &[&str]) -> Served {
        self.serve_under(&[], arguments).unwrap_or_else(|log| panic!("no server listens: {log}"))
    }

    /// The same after a line of shell, such as `ulimit -n 64`.
    pub(crate) fn serve_after(&self, line: &str, arguments: &[&str]) -> Served {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{line}; exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_grantd")]);
        command.args(arguments);
        Self::served(self.furnish(command)).unwrap_or_else(|log| panic!("no server listens: {log}"))
    }

    /// The same under another program; what was logged where it ends before it listens.
    pub(crate) fn serve_under(&self, starter: &[&str], arguments: &[&str]) -> Result<Served, String> {
        Self::served(self.command_under(starter, arguments))
    }

    fn served(mut command: Command) -> Result<Served, String> {
        let mut child = command.spawn().expect("the binary starts");
        let (said, lines) = channel();
        let log = Arc::new(Mutex::new(String::new()));
        let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let kept = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let mut log = kept.lock().expect("nobody panics here");
                log.push_str(&line);
                log.push('\n');
                let _ = said.send(line);
            }
        });
        let reader = Some(reader);
        let Some(address) = address_in(&lines) else {
            let _ = child.kill();
            let _ = child.wait();
            return Err(log.lock().expect("nobody panics here").clone());
        };
        Ok(Served { child, log, reader, url: format!("http://{address}") })
    }
}

fn address_in(lines: &Receiver<String>) -> Option<String> {
    loop {
        let line = lines.recv_timeout(Duration::from_secs(60)).ok()?;
        if !line.contains("listening") {
            continue;
        }
        // JSON where it is no terminal, `listen=…` for people.
        if let Ok(event) = serde_json::from_str::<Value>(&line) {
            return event["listen"].as_str().map(str::to_owned);
        }
        let (_, rest) = line.split_once("listen=")?;
        return rest.split_whitespace().next().map(str::to_owned);
    }
}

/// A command that ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// What a program left.
    pub(crate) fn of(output: Output) -> Self {
        Self {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }
}

/// A server process; killed when dropped.
pub(crate) struct Served {
    child: Child,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
    /// Where it listens.
    pub(crate) url: String,
}

impl Served {
    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("nobody panics here").clone()
    }

    /// The number of its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end and gives all it logged.
    pub(crate) fn log_to_the_end(mut self) -> String {
        self.child.wait().expect("it ends");
        self.reader.take().expect("one reader").join().expect("nobody panics here");
        self.log()
    }

    /// Sends SIGTERM, without waiting.
    pub(crate) fn terminate(&self) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().expect("kill exists");
        assert!(sent.success());
    }

    /// Closes its stdin, as the end of the process that started it does.
    pub(crate) fn close_stdin(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Ends it as a power cut does, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        let _ended_already = self.child.kill();
        self.child.wait().expect("it ends");
    }

    /// Waits for its end; its exit status and what it wrote to stdout.
    pub(crate) fn end(mut self) -> (i32, String) {
        let mut stdout = String::new();
        self.child.stdout.take().expect("a pipe").read_to_string(&mut stdout).expect("UTF-8");
        (self.child.wait().expect("it ends").code().unwrap_or(-1), stdout)
    }

    /// The next whole paragraph that it writes to stdout, up to a line that contains `last`.
    pub(crate) fn stdout_until(&mut self, last: &str) -> String {
        let mut reader = BufReader::new(self.child.stdout.as_mut().expect("a pipe"));
        let mut text = String::new();
        while !text.contains(last) {
            assert_ne!(reader.read_line(&mut text).expect("UTF-8"), 0, "stdout ended: {text}");
        }
        text
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
