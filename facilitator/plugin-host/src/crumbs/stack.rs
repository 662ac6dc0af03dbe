//! Which file's code has called `exit`: its return address is on the stack of the thread that runs the functions of the exit.

use std::ops::Range;

/// How far up the stack is read, bytes: the frames of `exit` itself are small.
const REACH: u64 = 64 * 1024;

/// The first address on this thread's stack that is in the code of a file which is neither this program nor a library of the
/// system; 0 where there is none. An older call may have left it there, so it is a hint.
pub(super) fn caller_in_a_file() -> u64 {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let program = std::fs::read_link("/proc/self/exe").unwrap_or_default();
    let here = u64::try_from((&raw const maps).addr()).unwrap_or_default();
    let Some((stack, code)) = ranges(&maps, &program.to_string_lossy(), here) else {
        return 0;
    };
    let end = stack.end.min(here.saturating_add(REACH));
    let mut at = here.next_multiple_of(8);
    while at.saturating_add(8) <= end {
        let Ok(address) = usize::try_from(at) else {
            return 0;
        };
        let word = std::ptr::with_exposed_provenance::<u64>(address);
        // SAFETY: from `here`, which is a variable of this function, to the end of the mapping that contains it: this thread's
        // stack, which is mapped, readable and aligned, and which no other thread unmaps while this one runs.
        let word = unsafe { word.read_volatile() };
        if code.iter().any(|range| range.contains(&word)) {
            return word;
        }
        at = at.saturating_add(8);
    }
    0
}

/// The mapping that contains an address, and those with the code of other files.
fn ranges(maps: &str, program: &str, here: u64) -> Option<(Range<u64>, Vec<Range<u64>>)> {
    let mut stack = None;
    let mut code = Vec::new();
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (range, rights) = (words.next()?, words.next()?);
        let (from, to) = range.split_once('-')?;
        let range = u64::from_str_radix(from, 16).ok()?..u64::from_str_radix(to, 16).ok()?;
        if range.contains(&here) {
            stack = Some(range);
            continue;
        }
        let path = words.nth(3).unwrap_or_default();
        let is_of_system = ["/usr/lib", "/lib"].iter().any(|folder| path.starts_with(folder));
        if rights.contains('x') && path.starts_with('/') && path != program && !is_of_system {
            code.push(range);
        }
    }
    Some((stack?, code))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
1000-2000 r-xp 00000000 00:00 1 /opt/switchyard
3000-4000 r-xp 00000000 00:00 2 /var/lib/switchyard/plugins/a.so
4000-5000 rw-p 00000000 00:00 2 /var/lib/switchyard/plugins/a.so
6000-7000 r-xp 00000000 00:00 3 /usr/lib/x86_64-linux-gnu/libc.so.6
8000-9000 rw-p 00000000 00:00 0 [stack]
a000-b000 r-xp 00000000 00:00 0 [vdso]
";

    #[test]
    fn only_code_of_other_files_counts() {
        let (stack, code) = ranges(MAPS, "/opt/switchyard", 0x8123).expect("a stack");
        assert_eq!(
            (stack, code.as_slice()),
            (
                0x8000..0x9000,
                &[Range {
                    start: 0x3000,
                    end: 0x4000
                }][..]
            )
        );
        assert_eq!(ranges(MAPS, "/opt/switchyard", 0x9123), None);
        assert_eq!(ranges("nonsense", "", 0), None);
    }

    #[test]
    fn the_stack_of_this_thread_is_read_to_its_end() {
        // In a test the program has no plugin: nothing is found, and nothing faults.
        let read = std::thread::spawn(caller_in_a_file).join().expect("no fault");
        assert_eq!(read, 0);
    }
}
