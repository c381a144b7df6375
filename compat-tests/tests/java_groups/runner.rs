//! `java/ToolRunner.java`: one virtual machine that runs tools one after the other.

use std::io::{BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use streamhouse_compat_tests::harness::spawn_with_us;
use streamhouse_compat_tests::java::Java;

/// What a tool printed and how it ended.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The virtual machine. Killed when dropped.
pub(crate) struct Runner {
    child: Child,
    requests: ChildStdin,
    replies: BufReader<ChildStdout>,
}

const OPTIONS: [&str; 3] = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx512m"];

impl Runner {
    /// Starts it with the programs in `classes` on its class path.
    pub(crate) fn start(java: &Java, classes: &Path) -> Runner {
        let mut command = java.command(&OPTIONS, Some(classes), "ToolRunner");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = spawn_with_us(command).expect("java runs, it answered -version");
        Runner {
            requests: child.stdin.take().expect("piped"),
            replies: BufReader::new(child.stdout.take().expect("piped")),
            child,
        }
    }

    /// Calls the `main` of the class that is the first word with the others.
    pub(crate) fn run(&mut self, words: &[&str], stdin: &str) -> Output {
        let mut request = length(words.len()).to_vec();
        for text in words.iter().chain([&stdin]) {
            request.extend(length(text.len()));
            request.extend(text.as_bytes());
        }
        self.requests.write_all(&request).expect("the virtual machine listens");
        let status = self.number();
        let stdout = self.text();
        let stderr = self.text();
        Output { status, stdout, stderr }
    }

    fn number(&mut self) -> i32 {
        let mut bytes = [0; 4];
        self.replies
            .read_exact(&mut bytes)
            .expect("the virtual machine answers");
        i32::from_be_bytes(bytes)
    }

    fn text(&mut self) -> String {
        let mut bytes = vec![0; usize::try_from(self.number()).expect("a length")];
        self.replies
            .read_exact(&mut bytes)
            .expect("the virtual machine answers");
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

fn length(length: usize) -> [u8; 4] {
    i32::try_from(length).expect("requests are short").to_be_bytes()
}

impl Drop for Runner {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
