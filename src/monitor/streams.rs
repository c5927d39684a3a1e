//! Moves a process's stdio between the guest, the client and the log.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::engine::log::{Source, Writer};

/// How much is moved at once, in bytes. Nothing more than this is ever held: who reads slowly slows the writer.
const CHUNK: usize = 16 << 10;

/// The log, shared by the streams of one process.
pub type SharedLog = Arc<Mutex<Writer>>;

/// Moves the guest's output to the log and, as long as there is one, to the client, until the guest ends it.
pub async fn output(mut guest: UnixStream, mut client: Option<UnixStream>, source: Source, log: SharedLog) {
    let mut buffer = vec![0; CHUNK];
    let mut log_failed = false;
    // A guest that breaks off has ended its output.
    while let Ok(length @ 1..) = guest.read(&mut buffer).await {
        let bytes = &buffer[..length];
        // The lock is never held across an await, so a panic under it is the only way to poison it.
        let logged = log.lock().unwrap_or_else(PoisonError::into_inner).write(source, bytes);
        if let Err(e) = logged
            && !std::mem::replace(&mut log_failed, true)
        {
            tracing::warn!("output is missing from the log: {e}");
        }
        if let Some(stream) = &mut client
            && stream.write_all(bytes).await.is_err()
        {
            client = None;
        }
    }
}

/// Moves the client's input to the guest until either ends it. Both ends learn of it.
pub async fn input(mut client: UnixStream, mut guest: UnixStream) {
    let mut buffer = vec![0; CHUNK];
    loop {
        tokio::select! {
            read = client.read(&mut buffer) => match read {
                Ok(length @ 1..) => {
                    if guest.write_all(&buffer[..length]).await.is_err() {
                        return;
                    }
                }
                _ => break,
            },
            // The guest sends nothing on stdin; it closing the stream means that the process reads no more.
            () = closed(&guest) => return,
        }
    }
    let _ = guest.shutdown().await;
    closed(&guest).await;
}

/// Waits until the peer of `stream` has closed it. Bytes that it sends are thrown away.
async fn closed(stream: &UnixStream) {
    let mut scrap = [0; 64];
    while stream.readable().await.is_ok() {
        match stream.try_read(&mut scrap) {
            Ok(0) => return,
            Err(e) if e.kind() != std::io::ErrorKind::WouldBlock => return,
            _ => {}
        }
    }
}
