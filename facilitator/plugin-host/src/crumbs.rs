//! Breadcrumbs: which plugin's code each thread runs, in a mapped file that outlives the process. The next start reads there
//! whose code ended the last one.
//!
//! Nothing here is synced: the kernel keeps what a dead process wrote, and after a crash of the machine nothing is known. A
//! fatal signal adds the thread and the address at which it died; `exit` of a plugin becomes the status 70, so that no supervisor
//! takes it for an orderly end.
//!
//! Assumes one process for each file, and that [`begin`] is called once in a process. Without it, nothing is recorded.

use std::cell::OnceCell;
use std::fs::OpenOptions;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use base::calls::aside::Subject;
use crash_handler::{CrashEventResult, CrashHandler};
use memmap2::MmapMut;
use parking_lot::Mutex;

mod last_run;
mod stack;

pub use last_run::{Busy, Cause, Doing, Fatal, LastRun, Payment};

/// Marks a file of this form. To change the form, change it.
const MAGIC: u64 = 0x7377_7961_7264_0002;
/// The words of the head.
mod head {
    pub(super) const MAGIC: usize = 0;
    /// 1: the process serves; 0: it starts.
    pub(super) const SERVES: usize = 1;
    /// 1: the process ended in order.
    pub(super) const ENDED: usize = 2;
    /// The signal, or [`EXIT`](super::EXIT); 0: none.
    pub(super) const CAUSE: usize = 3;
    pub(super) const THREAD: usize = 4;
    /// Where the thread was.
    pub(super) const ADDRESS: usize = 5;
    pub(super) const WORDS: usize = 8;
}
/// The words of a thread's cell.
mod cell {
    /// 0: the thread runs no plugin's code.
    pub(super) const INSTANCE: usize = 0;
    pub(super) const THREAD: usize = 1;
    pub(super) const WHAT: usize = 2;
    /// 0: not recorded.
    pub(super) const SETTLEMENT: usize = 3;
    // Four words of the digest follow; all 0: about no payment.
    pub(super) const WORDS: usize = 8;
}
/// Threads with a cell. A thread beyond them leaves no crumb.
const CELLS: usize = 1_024;
const WORDS: usize = head::WORDS + CELLS * cell::WORDS;
/// A cause: `exit` was called, and not by this program.
const EXIT: u64 = 1 << 32;
/// A cause: a file that was opened kept the process from everything else.
const HANG: u64 = 1 << 33;
/// EX_SOFTWARE of sysexits.h.
const STATUS: i32 = 70;
/// The file of this process.
struct Crumbs {
    words: &'static [AtomicU64],
    free: Mutex<Vec<usize>>,
}

static CRUMBS: OnceLock<Crumbs> = OnceLock::new();

impl Crumbs {
    fn set(&self, at: usize, value: u64) {
        if let Some(word) = self.words.get(at) {
            word.store(value, Ordering::Relaxed);
        }
    }

    fn get(&self, at: usize) -> u64 {
        self.words.get(at).map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// Async-signal-safe. The first cause counts: a handler may abort after it.
    fn record(&self, cause: u64, thread: u64, address: u64) {
        if self.get(head::CAUSE) == 0 {
            self.set(head::THREAD, thread);
            self.set(head::ADDRESS, address);
            self.set(head::CAUSE, cause);
        }
    }
}

/// Keeps the record of this process until it is dropped, which says that the process ends in order.
#[derive(Debug)]
#[must_use]
pub struct Record(());

impl Record {
    /// From now on the process serves.
    pub fn serves(&self) {
        if let Some(crumbs) = CRUMBS.get() {
            crumbs.set(head::SERVES, 1);
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if let Some(crumbs) = CRUMBS.get() {
            crumbs.set(head::ENDED, 1);
        }
    }
}

/// Reads how the last process with this file ended (`None`: in order, or there was none), and begins the record of this one.
///
/// # Errors
/// The file can't be read, written or mapped, or a handler can't be installed.
pub fn begin(file: &Path) -> std::io::Result<(Record, Option<LastRun>)> {
    let last = match std::fs::read(file) {
        Ok(bytes) => {
            let words: Vec<u64> = bytes
                .chunks_exact(size_of::<u64>())
                .filter_map(|word| Some(u64::from_ne_bytes(word.try_into().ok()?)))
                .collect();
            LastRun::read(&words)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let mapped = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(file)?;
    mapped.set_len(u64::try_from(WORDS * size_of::<u64>()).unwrap_or(u64::MAX))?;
    // SAFETY: the file is of this process alone; another one that shortened it could only end this process.
    let map = unsafe { MmapMut::map_mut(&mapped) }?;
    let map: &'static mut MmapMut = Box::leak(Box::new(map));
    let bytes: &'static mut [u8] = map;
    // SAFETY: every bit pattern is an AtomicU64. `align_to` gives the part that is aligned, and a mapping begins at a page.
    let (_, words, _) = unsafe { bytes.align_to_mut::<AtomicU64>() };
    let crumbs = Crumbs {
        words,
        free: Mutex::new((0..CELLS).rev().collect()),
    };
    crumbs.set(head::MAGIC, MAGIC);
    if CRUMBS.set(crumbs).is_err() {
        return Err(std::io::Error::other("this process has a record already"));
    }
    watch_signals().map_err(std::io::Error::other)?;
    // SAFETY: the function may be called at any exit, and touches nothing that a destructor frees.
    if unsafe { libc::atexit(at_exit) } != 0 {
        return Err(std::io::Error::other("no function can be run at exit"));
    }
    Ok((Record(()), last))
}

fn watch_signals() -> Result<(), crash_handler::Error> {
    // SAFETY: the closure writes to memory that is mapped for ever, and allocates nothing.
    let event = unsafe {
        crash_handler::make_crash_event(|context| {
            if let Some(crumbs) = CRUMBS.get() {
                let thread = u64::try_from(context.tid).unwrap_or_default();
                crumbs.record(context.siginfo.ssi_signo.into(), thread, address(context));
            }
            // The process ends as it would without this handler.
            CrashEventResult::Handled(false)
        })
    };
    let handler = CrashHandler::attach(event)?;
    // Only this process may trace this one, also while it dies: by default any process may.
    handler.set_ptracer(Some(std::process::id()));
    // For ever: dropping it detaches the handler.
    std::mem::forget(handler);
    Ok(())
}

/// Where the thread was.
#[cfg_attr(
    not(any(target_arch = "x86_64", target_arch = "aarch64")),
    expect(unused_variables)
)]
fn address(context: &crash_handler::CrashContext) -> u64 {
    // The other machines have another form of context: a failure there is an error of the compiler.
    #[cfg(target_arch = "x86_64")]
    {
        const RIP: usize = 16;
        context
            .context
            .uc_mcontext
            .gregs
            .get(RIP)
            .map_or(0, |rip| rip.cast_unsigned())
    }
    #[cfg(target_arch = "aarch64")]
    {
        context.context.uc_mcontext.pc
    }
}

/// This program drops its [`Record`] before it ends. An exit without that is not its own.
extern "C" fn at_exit() {
    let Some(crumbs) = CRUMBS.get() else { return };
    if crumbs.get(head::ENDED) != 0 {
        return;
    }
    crumbs.record(EXIT, thread_id(), stack::caller_in_a_file());
    end()
}

fn end() -> ! {
    // SAFETY: ends the process without running further functions.
    unsafe { libc::_exit(STATUS) }
}

/// Ends the process because the file of an instance does not get open: it holds the loader's lock, for which any thread may wait.
/// The next start runs it in a process of its own. Returns where nothing is recorded.
pub(crate) fn end_for_hanging(instance: u64) {
    let Some(crumbs) = CRUMBS.get() else { return };
    let cells = (0..CELLS).map(|number| head::WORDS + number * cell::WORDS);
    let loads = |at: &usize| {
        crumbs.get(at + cell::INSTANCE) == instance && crumbs.get(at + cell::WHAT) == Doing::Load.number()
    };
    let thread = cells.filter(loads).map(|at| crumbs.get(at + cell::THREAD)).next();
    crumbs.record(HANG, thread.unwrap_or_default(), 0);
    end()
}

fn thread_id() -> u64 {
    // SAFETY: has no arguments and can't fail.
    u64::try_from(unsafe { libc::gettid() }).unwrap_or_default()
}

/// A thread's cell, given back when the thread ends.
struct Mine {
    crumbs: &'static Crumbs,
    number: usize,
}

impl Mine {
    fn new() -> Option<Self> {
        let crumbs = CRUMBS.get()?;
        let number = crumbs.free.lock().pop()?;
        let mine = Self { crumbs, number };
        mine.set(cell::THREAD, thread_id());
        Some(mine)
    }

    fn at(&self, word: usize) -> usize {
        head::WORDS + self.number * cell::WORDS + word
    }

    fn set(&self, word: usize, value: u64) {
        self.crumbs.set(self.at(word), value);
    }

    fn get(&self, word: usize) -> u64 {
        self.crumbs.get(self.at(word))
    }
}

/// What a cell says of its thread.
struct Crumb {
    instance: u64,
    what: u64,
    payment: [u64; 5],
}

impl Mine {
    /// From the settlement's word to the last of the digest.
    const PAYMENT: std::ops::Range<usize> = cell::SETTLEMENT..cell::WORDS;

    fn crumb(&self) -> Crumb {
        let mut payment = [0; 5];
        let words = Self::PAYMENT.map(|word| self.get(word));
        payment
            .iter_mut()
            .zip(words)
            .for_each(|(word, value)| *word = value);
        Crumb {
            instance: self.get(cell::INSTANCE),
            what: self.get(cell::WHAT),
            payment,
        }
    }

    fn leave(&self, crumb: &Crumb) {
        self.set(cell::WHAT, crumb.what);
        for (word, value) in Self::PAYMENT.zip(crumb.payment) {
            self.set(word, value);
        }
        self.set(cell::INSTANCE, crumb.instance);
    }
}

impl Drop for Mine {
    fn drop(&mut self) {
        // The thread ends inside of a plugin's code, because that called `exit`: the crumb is what [`at_exit`] is about.
        if self.get(cell::INSTANCE) == 0 {
            self.crumbs.free.lock().push(self.number);
        }
    }
}

thread_local! {
    static MINE: OnceCell<Option<Mine>> = const { OnceCell::new() };
}

/// Runs an instance's code, with a crumb on this thread meanwhile.
pub(crate) fn inside<T>(instance: u64, doing: Doing, code: impl FnOnce() -> T) -> T {
    inside_about(instance, doing, None, code)
}

/// The same for a call that may be about a payment.
pub(crate) fn inside_about<T>(
    instance: u64,
    doing: Doing,
    subject: Option<&Subject>,
    code: impl FnOnce() -> T,
) -> T {
    if CRUMBS.get().is_none() {
        return code();
    }
    let before = MINE.try_with(|mine| {
        let mine = mine.get_or_init(Mine::new).as_ref()?;
        let before = mine.crumb();
        mine.leave(&Crumb {
            instance,
            what: doing.number(),
            payment: Payment::words(subject),
        });
        Some(before)
    });
    let result = code();
    // No guard: code of the other side does not unwind.
    if let Ok(Some(before)) = before {
        // The thread's cell is there: it was a moment ago.
        let _ = MINE.try_with(|mine| {
            mine.get()?.as_ref()?.leave(&before);
            Some(())
        });
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::calls::aside::Recorded;
    use proptest::prelude::*;
    use sdk_plugin::operation::OperationKind;

    fn words(change: impl FnOnce(&mut [u64])) -> Vec<u64> {
        let mut words = vec![0; WORDS];
        words[head::MAGIC] = MAGIC;
        change(&mut words);
        words
    }

    #[test]
    fn the_thread_that_died_is_found_among_the_busy_ones() {
        let at = |number: usize| head::WORDS + number * cell::WORDS;
        let judge = Doing::Operation(OperationKind::Judge);
        let last = LastRun::read(&words(|words| {
            words[head::SERVES] = 1;
            words[head::CAUSE] = 11;
            words[head::THREAD] = 700;
            for (number, instance, thread, doing) in [(0, 2, 600, Doing::Task), (9, 1, 700, judge)] {
                words[at(number)] = instance;
                words[at(number) + cell::THREAD] = thread;
                words[at(number) + cell::WHAT] = doing.number();
            }
        }))
        .expect("it did not end in order");
        assert!(last.served);
        assert_eq!(last.fatal.map(|fatal| fatal.cause), Some(Cause::Signal(11)));
        assert_eq!(last.busy.len(), 2);
        let dead = last.of_the_dead().expect("a crumb");
        assert_eq!((dead.instance, dead.doing), (1, Some(judge)));
        assert_eq!(dead.payment, None);
    }

    #[test]
    fn the_payment_of_a_thread_is_found_again() {
        let subject = |settlement: Option<u64>| Subject {
            digest: std::array::from_fn(|at| u8::try_from(at).expect("small")),
            scheme: "exact".into(),
            recorded: settlement.map(|settlement| Recorded {
                settlement,
                claim: "claim".into(),
            }),
        };
        for settlement in [None, Some(7)] {
            let subject = subject(settlement);
            let last = LastRun::read(&words(|words| {
                words[head::WORDS] = 1;
                for (word, value) in Payment::words(Some(&subject)).into_iter().enumerate() {
                    words[head::WORDS + cell::SETTLEMENT + word] = value;
                }
            }))
            .expect("it did not end in order");
            let payment = last.busy.first().and_then(|busy| busy.payment);
            let digest = subject.digest;
            assert_eq!(payment, Some(Payment { digest, settlement }));
        }
    }

    #[test]
    fn a_process_that_ended_in_order_left_nothing() {
        assert_eq!(LastRun::read(&words(|words| words[head::ENDED] = 1)), None);
        assert_eq!(LastRun::read(&vec![0; WORDS]), None, "an empty file");
        let killed = LastRun::read(&words(|_| ())).expect("it was killed");
        assert_eq!((killed.fatal, killed.of_the_dead()), (None, None));
    }

    #[test]
    fn everything_that_a_thread_does_has_a_number_of_its_own() {
        let operations = OperationKind::ALL.iter().copied().map(Doing::Operation);
        for doing in [Doing::Load, Doing::Task, Doing::Destroy]
            .into_iter()
            .chain(operations)
        {
            assert_eq!(Doing::of_number(doing.number()), Some(doing));
        }
    }

    proptest! {
        #[test]
        fn any_words_are_read(words in prop::collection::vec(any::<u64>(), 0..64), long in any::<bool>()) {
            let mut words = words;
            if long {
                words.resize(WORDS, 7);
                words[head::MAGIC] = MAGIC;
            }
            let _ = LastRun::read(&words);
        }
    }
}
