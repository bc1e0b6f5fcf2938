//! A client that costs as little as one can: one connection, blocking, nothing kept.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// What is read at once of a body that is thrown away.
const BUFFER: usize = 256 << 10;
const TIMEOUT: Duration = Duration::from_mins(1);

/// One connection that stays.
pub(crate) struct Client {
    stream: TcpStream,
    host: SocketAddr,
    authorization: String,
    buffer: Vec<u8>,
}

/// An answer, whole.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    /// Fails unless the status is this.
    pub(crate) fn expect(self, status: u16) -> Result<Self> {
        let text = String::from_utf8_lossy(&self.body);
        ensure!(self.status == status, "answered {}, not {status}: {text}", self.status);
        Ok(self)
    }
}

impl Client {
    pub(crate) fn connect(host: SocketAddr, authorization: Option<String>) -> Result<Self> {
        let stream = TcpStream::connect(host)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        let authorization =
            authorization.map(|value| format!("Authorization: {value}\r\n")).unwrap_or_default();
        Ok(Self { stream, host, authorization, buffer: vec![0; BUFFER] })
    }

    pub(crate) fn get(&mut self, path: &str) -> Result<Reply> {
        self.send("GET", path, "", b"")
    }

    /// Sends a request with a body of a known length; `fields` is whole header lines.
    pub(crate) fn send(
        &mut self,
        method: &str,
        path: &str,
        fields: &str,
        body: &[u8],
    ) -> Result<Reply> {
        let length = body.len();
        let mut request = self.head(method, path, &format!("{fields}Content-Length: {length}\r\n"));
        request.extend_from_slice(body);
        self.stream.write_all(&request)?;
        self.reply()
    }

    /// Sends a request whose body is a stream of `parts`, in the chunks of HTTP/1.1.
    pub(crate) fn stream<'a>(
        &mut self,
        method: &str,
        path: &str,
        parts: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Reply> {
        let head = self.head(method, path, "Transfer-Encoding: chunked\r\n");
        self.stream.write_all(&head)?;
        for part in parts {
            self.stream.write_all(format!("{:x}\r\n", part.len()).as_bytes())?;
            self.stream.write_all(part)?;
            self.stream.write_all(b"\r\n")?;
        }
        self.stream.write_all(b"0\r\n\r\n")?;
        self.reply()
    }

    /// Reads a body and throws it away; returns its length.
    pub(crate) fn download(&mut self, path: &str) -> Result<u64> {
        let request = self.head("GET", path, "");
        self.stream.write_all(&request)?;
        let (head, rest) = self.reply_head()?;
        ensure!(status(&head) == Some(200), "answered: {head}");
        let length = length(&head)?;
        let mut left = length.checked_sub(rest.len() as u64).context("more than was told")?;
        while left > 0 {
            let read = self.stream.read(&mut self.buffer)? as u64;
            ensure!(read > 0 && read <= left, "{left} bytes of the body are missing");
            left -= read;
        }
        Ok(length)
    }

    fn head(&self, method: &str, path: &str, fields: &str) -> Vec<u8> {
        let Self { host, authorization, .. } = self;
        format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{authorization}{fields}\r\n").into()
    }

    fn reply(&mut self) -> Result<Reply> {
        let (head, mut body) = self.reply_head()?;
        let status = status(&head).context("no status")?;
        let length = if status == 204 { 0 } else { usize::try_from(length(&head)?)? };
        let had = body.len();
        ensure!(had <= length, "more than was told");
        body.resize(length, 0);
        self.stream.read_exact(body.get_mut(had..).unwrap_or_default())?;
        Ok(Reply { status, head, body })
    }

    /// The header of a response, and what came with it of the body.
    fn reply_head(&mut self) -> Result<(String, Vec<u8>)> {
        const END: &[u8] = b"\r\n\r\n";
        let mut bytes = Vec::new();
        loop {
            let read = self.stream.read(&mut self.buffer)?;
            if read == 0 {
                bail!("the server closed the connection");
            }
            bytes.extend_from_slice(self.buffer.get(..read).unwrap_or_default());
            if let Some(end) = bytes.windows(END.len()).position(|window| window == END) {
                let body = bytes.split_off(end + END.len());
                return Ok((String::from_utf8(bytes)?, body));
            }
        }
    }
}

fn status(head: &str) -> Option<u16> {
    head.split(' ').nth(1)?.parse().ok()
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

fn length(head: &str) -> Result<u64> {
    Ok(header(head, "content-length").context("no length was told")?.parse()?)
}
