//! Gathers log lines for a moment and writes many of them by one call of `write`, in their order. Knows nothing of
//! what is in them.
//!
//! A busy server writes a line for each token, and a call of the system for each line costs more than making it. What
//! is urgent is written at once, and all that was gathered before it. A process that is killed outright loses the
//! lines of its last moment; what must not be lost is in the audit, which is in the database.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// How long a line may wait for others.
const MOMENT: Duration = Duration::from_millis(10);
/// Whoever gathers more than this writes it, so that a slow reader of the log slows down who talks much.
const MOST: usize = 64 * 1024;

/// Where lines are gathered.
pub(super) struct Batched<W> {
    gathered: Arc<Gathered<W>>,
    /// Whether every line is urgent.
    hasty: bool,
}

struct Gathered<W> {
    lines: Mutex<Vec<u8>>,
    some: Condvar,
    /// Held from the taking of lines until they are written, so that they stay in their order.
    out: Mutex<Out<W>>,
}

struct Out<W> {
    writer: W,
    /// What lines are gathered in while others are written: room that grows anew each time is copied as it grows.
    spare: Vec<u8>,
}

impl<W> Clone for Batched<W> {
    fn clone(&self) -> Self {
        Self { gathered: Arc::clone(&self.gathered), hasty: self.hasty }
    }
}

impl<W: Write + Send + 'static> Batched<W> {
    /// Writes each line to `out` at once: for somebody who watches.
    pub(super) fn hastily(out: W) -> Self {
        let (lines, some) = (Mutex::default(), Condvar::new());
        let out = Mutex::new(Out { writer: out, spare: Vec::new() });
        Self { gathered: Arc::new(Gathered { lines, some, out }), hasty: true }
    }

    /// Writes to `out` from a thread of its own.
    pub(super) fn in_batches(out: W) -> io::Result<Self> {
        let batched = Self { hasty: false, ..Self::hastily(out) };
        let writer = batched.clone();
        // Lives as long as the process: the subscriber that gathers is never taken down.
        thread::Builder::new().name("grantd-log".into()).spawn(move || {
            loop {
                writer.wait_for_some();
                thread::sleep(MOMENT);
                writer.write_out();
            }
        })?;
        Ok(batched)
    }

    /// Writes what is gathered.
    pub(super) fn write_out(&self) {
        let mut out = held(&self.gathered.out);
        let Out { writer, spare } = &mut *out;
        // Before, so that a writer that panics never meets the same lines again.
        spare.clear();
        std::mem::swap(spare, &mut *held(&self.gathered.lines));
        // There is nobody to tell that stderr is gone.
        let _ = writer.write_all(spare).and_then(|()| writer.flush());
        // What one storm needed is not kept for ever.
        spare.shrink_to(2 * MOST);
    }

    fn wait_for_some(&self) {
        let mut lines = held(&self.gathered.lines);
        while lines.is_empty() {
            lines = self.gathered.some.wait(lines).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn gather(&self, line: &[u8]) -> usize {
        let mut lines = held(&self.gathered.lines);
        let first = lines.is_empty();
        lines.extend_from_slice(line);
        let gathered = lines.len();
        drop(lines);
        if first {
            self.gathered.some.notify_one();
        }
        gathered
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One line on its way.
pub(super) struct Line<'a, W> {
    to: &'a Batched<W>,
    urgent: bool,
}

impl<W: Write + Send + 'static> Write for Line<'_, W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.to.gather(line) >= MOST || self.urgent {
            self.to.write_out();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.write_out();
        Ok(())
    }
}

impl<'a, W: Write + Send + 'static> MakeWriter<'a> for Batched<W> {
    type Writer = Line<'a, W>;

    fn make_writer(&'a self) -> Self::Writer {
        Line { to: self, urgent: true }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Self::Writer {
        Line { to: self, urgent: self.hasty || *metadata.level() <= Level::WARN }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// Tells of each call of `write`.
    struct Told(Sender<String>);

    impl Write for Told {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.send(String::from_utf8_lossy(bytes).into_owned());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What a patient writer without its thread is told, and what it calls.
    fn patient() -> (Batched<Told>, Receiver<String>) {
        let (told, calls) = channel();
        (Batched { hasty: false, ..Batched::hastily(Told(told)) }, calls)
    }

    fn say(to: &Batched<Told>, urgent: bool, line: &str) {
        Line { to, urgent }.write_all(line.as_bytes()).expect("gathered");
    }

    #[test]
    fn many_lines_are_one_call_in_their_order() {
        let (batched, calls) = patient();
        say(&batched, false, "one\n");
        say(&batched, false, "two\n");
        assert!(calls.try_recv().is_err(), "nobody asked for them yet");

        batched.write_out();

        assert_eq!(calls.try_iter().collect::<Vec<_>>(), ["one\ntwo\n"]);
    }

    #[test]
    fn what_is_urgent_is_written_at_once_and_all_that_came_before_it() {
        let (batched, calls) = patient();
        say(&batched, false, "one\n");

        say(&batched, true, "two\n");

        assert_eq!(calls.try_iter().collect::<Vec<_>>(), ["one\ntwo\n"]);
    }

    #[test]
    fn a_flood_waits_for_its_reader_instead_of_filling_the_memory() {
        let (batched, calls) = patient();
        let line = "x".repeat(1024);

        for _ in 0..MOST / line.len() {
            say(&batched, false, &line);
        }

        assert_eq!(calls.try_iter().map(|call| call.len()).collect::<Vec<_>>(), [MOST]);
    }

    #[test]
    fn a_line_that_nobody_follows_is_written_by_itself() {
        let (told, calls) = channel();
        let batched = Batched::in_batches(Told(told)).expect("a thread");

        for line in ["one\n", "two\n"] {
            say(&batched, false, line);
            assert_eq!(calls.recv().expect("written"), line);
        }
    }

    #[test]
    fn warnings_are_urgent_and_so_is_everything_for_somebody_who_watches() {
        let log = |batched: &Batched<Told>| {
            let layer = tracing_subscriber::fmt::layer().with_writer(batched.clone());
            let subscriber = tracing_subscriber::registry().with(layer);
            tracing::subscriber::with_default(subscriber, || tracing::info!("told"));
        };
        let (batched, calls) = patient();
        log(&batched);
        assert!(calls.try_recv().is_err());
        tracing::subscriber::with_default(
            tracing_subscriber::registry().with(tracing_subscriber::fmt::layer().with_writer(batched)),
            || tracing::warn!("warned"),
        );
        let call = calls.try_recv().expect("at once");
        assert!(call.contains("told") && call.contains("warned"), "{call}");

        let (told, calls) = channel();
        log(&Batched::hastily(Told(told)));
        assert!(calls.try_recv().is_ok_and(|call| call.contains("told")));
    }
}
