//! Where Lambda runs a function: the runtime API, on loopback, which hands the function's own program one event
//! after the other and takes its answers.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::run;
use crate::workspace::{self, cargo};

/// What Cognito waits for an answer, and starting the program takes a moment.
const PATIENCE: Duration = Duration::from_secs(5);

/// The deadline that the function is told, in milliseconds since 1970: it looks at none.
const FAR: u64 = 4_102_444_800_000;

/// Builds the function that hears of sign-ups, and returns where it is. As the stage of the unit tests builds
/// it, beside a test that starts it: alone it would have all of AWS's crates built once more.
pub fn build() -> Result<PathBuf> {
    run::show(cargo().args([
        "test",
        "--quiet",
        "--workspace",
        "--no-run",
        "--test",
        "lambda_starts",
    ]))?;
    Ok(workspace::target()?.join("debug/bootstrap"))
}

/// What a function made of an event.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// Its answer.
    Done(Value),
    /// Its error, as it is shown to who invoked it.
    Failed(String),
}

/// A running function, ended when this is dropped.
pub struct Lambda {
    child: Child,
    events: Sender<Value>,
    answers: Receiver<Answer>,
}

impl Lambda {
    /// Starts the program with these variables beside those that Lambda sets.
    pub fn start(program: &Path, variables: &[(&str, String)]) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let (events, handed) = channel();
        let (told, answers) = channel();
        std::thread::spawn(move || {
            let runtime = Runtime { events: handed, answers: told };
            // Until the function is gone, or nobody has events for it any more.
            for stream in listener.incoming().map_while(Result::ok) {
                if runtime.serve(&stream).is_err() {
                    return;
                }
            }
        });
        let child = Command::new(program)
            .env("AWS_LAMBDA_RUNTIME_API", address.to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", "sign-ups")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        Ok(Self { child, events, answers })
    }

    /// Hands it an event, as Cognito does, and waits for the answer as long as Cognito would.
    pub fn invoke(&self, event: &Value) -> Result<Answer> {
        self.events.send(event.clone()).context("the function's runtime API is gone")?;
        self.answers.recv_timeout(PATIENCE).context("the function gave no answer in time")
    }
}

impl Drop for Lambda {
    fn drop(&mut self) {
        // It waits for an event that never comes.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The runtime API, one request a connection.
struct Runtime {
    events: Receiver<Value>,
    answers: Sender<Answer>,
}

impl Runtime {
    fn serve(&self, stream: &TcpStream) -> Result<()> {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut length = 0;
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse()?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let json = |body: &[u8]| serde_json::from_slice::<Value>(body);
        match path.rsplit('/').next() {
            Some("next") => {
                let event = self.events.recv()?.to_string();
                let headers = format!(
                    "Lambda-Runtime-Aws-Request-Id: 8476a536-e9f4-11e8-9739-2dfe598c3fcd\r\n\
                     Lambda-Runtime-Deadline-Ms: {FAR}\r\n\
                     Lambda-Runtime-Invoked-Function-Arn: \
                     arn:aws:lambda:us-east-1:123456789012:function:sign-ups\r\n\
                     Lambda-Runtime-Trace-Id: Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700\r\n"
                );
                answer(stream, 200, &headers, &event)
            }
            Some("response") => {
                self.answers.send(Answer::Done(json(&body)?))?;
                answer(stream, 202, "", "{}")
            }
            Some("error") => {
                let told = json(&body)?;
                let message = told["errorMessage"].as_str().unwrap_or_default();
                self.answers.send(Answer::Failed(message.to_owned()))?;
                answer(stream, 202, "", "{}")
            }
            _ => bail!("the runtime API has no {path}"),
        }
    }
}

fn answer(mut stream: &TcpStream, status: u16, headers: &str, body: &str) -> Result<()> {
    let length = body.len();
    Ok(write!(
        stream,
        "HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nConnection: close\r\n{headers}\
         Content-Length: {length}\r\n\r\n{body}"
    )?)
}
