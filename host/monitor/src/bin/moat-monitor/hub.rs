//! What the container's first process writes: to the log, and to every client that is attached.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::rc::Rc;
use std::time::Duration;

use moat_protocol::output::{self, OUTPUT_HEADER, Source};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::Notify;

use moat_containers::log::Writer;

/// How much is moved at once, in bytes. Nothing more than this is ever held: a slow reader slows the writer.
const CHUNK: usize = 16 << 10;

/// How long a client may leave output unread when the container is asked to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// The clients' ends.
#[derive(Default)]
pub struct Hub {
    /// Clients that came since the last chunk, and then get everything that follows.
    arriving: RefCell<VecDeque<StdUnixStream>>,
    hurry: Cell<bool>,
    hurried: Notify,
}

impl Hub {
    /// A connection that gets everything the process writes from now on, until this run or the next one ends.
    ///
    /// # Errors
    /// When the host is out of descriptors.
    pub fn join(&self) -> io::Result<StdUnixStream> {
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        self.arriving.borrow_mut().push_back(ours);
        Ok(theirs)
    }

    /// The container is asked to end: clients that do not read do not hold it up any more.
    pub fn hurry(&self) {
        self.hurry.set(true);
        self.hurried.notify_waiters();
    }

    /// Returns when a client has had its time.
    async fn out_of_patience(&self) {
        let hurried = self.hurried.notified();
        if !self.hurry.get() {
            hurried.await;
        }
        tokio::time::sleep(PATIENCE).await;
    }

    /// Moves the guest's output to the log, if there is one, and the clients until the guest ends it, and completes the
    /// log.
    pub async fn carry(self: Rc<Self>, guest: UnixStream, terminal: bool, log: Option<Writer>) {
        let mut carrier = Carrier { hub: &self, clients: Vec::new(), log, log_failed: false };
        // A guest that breaks off, or sends what is no output, has ended it.
        if let Err(e) = carrier.run(guest, terminal).await {
            tracing::warn!("the guest's output ended: {e}");
        }
        carrier.finish();
        // For them, too, this run's output is over.
        self.arriving.borrow_mut().clear();
    }
}

struct Carrier<'a> {
    hub: &'a Hub,
    clients: Vec<UnixStream>,
    log: Option<Writer>,
    log_failed: bool,
}

impl Carrier<'_> {
    async fn run(&mut self, mut guest: UnixStream, terminal: bool) -> io::Result<()> {
        let mut buffer = vec![0; OUTPUT_HEADER + CHUNK];
        loop {
            if terminal {
                let length = guest.read(&mut buffer).await?;
                if length == 0 {
                    return Ok(());
                }
                self.deliver(Source::Stdout, &buffer[..length], 0).await;
                continue;
            }
            let mut header = [0; OUTPUT_HEADER];
            if guest.read(&mut header[..1]).await? == 0 {
                return Ok(());
            }
            guest.read_exact(&mut header[1..]).await?;
            let (source, mut left) = output::parse(header).map_err(io::Error::other)?;
            while left > 0 {
                let most = left.min(CHUNK);
                let length = guest.read(&mut buffer[OUTPUT_HEADER..OUTPUT_HEADER + most]).await?;
                if length == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                left -= length;
                // In pieces as they come: each gets a header of its own.
                buffer[..OUTPUT_HEADER].copy_from_slice(&output::header(source, length));
                self.deliver(source, &buffer[..OUTPUT_HEADER + length], OUTPUT_HEADER).await;
            }
        }
    }

    /// Gives `bytes`, of which the first `skip` are not for the log, to the log and all clients.
    async fn deliver(&mut self, source: Source, bytes: &[u8], skip: usize) {
        if let Some(log) = &mut self.log
            && let Err(e) = log.write(source, &bytes[skip..])
            && !std::mem::replace(&mut self.log_failed, true)
        {
            tracing::warn!("output is missing from the log: {e}");
        }
        let arriving: Vec<_> = self.hub.arriving.borrow_mut().drain(..).collect();
        self.clients.extend(arriving.into_iter().filter_map(|client| UnixStream::from_std(client).ok()));
        let mut index = 0;
        while let Some(client) = self.clients.get_mut(index) {
            let taken = tokio::select! {
                biased;
                result = client.write_all(bytes) => result.is_ok(),
                () = self.hub.out_of_patience() => false,
            };
            if taken {
                index += 1;
            } else {
                self.clients.swap_remove(index);
            }
        }
    }

    fn finish(&mut self) {
        if let Some(log) = &mut self.log
            && let Err(e) = log.finish()
        {
            tracing::warn!("output is missing from the log: {e}");
        }
    }
}
