//! Whether the running Envoy is one that the module was tested with.
//!
//! Envoy compares the version that a module names with its own, but loads it all the same, and no
//! call names the Envoy that the module runs in. The layout of arguments can differ between two
//! versions, so the module looks for itself: the version is a text of its own in the constants of
//! the program.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::sync::OnceLock;

/// The version of the ABI that the declarations follow: that of Envoy 1.40.
pub const TESTED_ABI: &str = "v0.2.0";

/// Longest text that can be a version.
const MAX_VERSION_BYTES: usize = 16;

const CHUNK_BYTES: usize = 1 << 20;

/// Checks that the running program has the tested ABI.
///
/// # Errors
/// A sentence for the log, with the versions that were found.
pub fn check_running_program() -> Result<(), String> {
    // Once: the program has megabytes of constants, and a listener's update makes configurations.
    static CHECKED: OnceLock<Result<(), String>> = OnceLock::new();
    let check = || match versions_in_constants(Path::new("/proc/self/maps")) {
        Ok(found) => judge(&found),
        Err(error) => Err(format!(
            "the ABI of this Envoy cannot be determined ({error}); {REMEDY}"
        )),
    };
    CHECKED.get_or_init(check).clone()
}

const REMEDY: &str = "use a module for this Envoy, or set envoy_abi to any";

fn judge(found: &[String]) -> Result<(), String> {
    if found.iter().any(|version| version == TESTED_ABI) {
        return Ok(());
    }
    let found = if found.is_empty() {
        "no version".to_owned()
    } else {
        found.join(", ")
    };
    Err(format!(
        "this module was tested with ABI {TESTED_ABI} (Envoy 1.40), and this Envoy has {found}; \
         {REMEDY}"
    ))
}

/// Returns the versions in the constants of the program whose memory map this is.
fn versions_in_constants(maps: &Path) -> io::Result<Vec<String>> {
    let program = std::fs::read_link("/proc/self/exe")?;
    let mut versions = Vec::new();
    let mut file = File::open("/proc/self/exe")?;
    for line in BufReader::new(File::open(maps)?).lines() {
        let line = line?;
        if let Some((offset, length)) = constants(&line, &program) {
            file.seek(SeekFrom::Start(offset))?;
            collect_versions(&mut (&mut file).take(length), &mut versions)?;
        }
    }
    Ok(versions)
}

/// Parses a line of a memory map: offset and length of read-only data of the program.
fn constants(line: &str, program: &Path) -> Option<(u64, u64)> {
    let mut fields = line.split_ascii_whitespace();
    let (range, mode, offset) = (fields.next()?, fields.next()?, fields.next()?);
    let path = fields.nth(2)?;
    if !mode.starts_with("r-") || Path::new(path) != program {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    let hex = |text| u64::from_str_radix(text, 16).ok();
    Some((hex(offset)?, hex(end)?.checked_sub(hex(start)?)?))
}

/// Collects texts such as `v0.2.0` that stand between two NUL bytes.
fn collect_versions(reader: &mut impl io::Read, versions: &mut Vec<String>) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut carried = 0;
    loop {
        let Some(free) = chunk.get_mut(carried..) else {
            return Ok(());
        };
        let count = reader.read(free)?;
        if count == 0 {
            return Ok(());
        }
        let filled = chunk.get(..carried + count).unwrap_or_default();
        for text in filled.split(|byte| *byte == 0) {
            if let Some(version) = version(text)
                && !versions.contains(&version)
            {
                versions.push(version);
            }
        }
        // A version may lie on the border of two chunks.
        let tail = filled.len().saturating_sub(MAX_VERSION_BYTES);
        let end = filled.len();
        chunk.copy_within(tail..end, 0);
        carried = end - tail;
    }
}

fn version(text: &[u8]) -> Option<String> {
    if text.len() > MAX_VERSION_BYTES {
        return None;
    }
    let text = str::from_utf8(text).ok()?;
    let numbers = text.strip_prefix("v")?;
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let parts: Vec<&str> = numbers.split('.').collect();
    (parts.len() == 3 && parts.iter().copied().all(is_number)).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_across_chunks_and_once() {
        let mut constants = vec![b'x'; CHUNK_BYTES - 3];
        constants.extend(b"\0v0.2.0\0v1.2\0xv0.3.0\0v0.2.0\0v10.0.1\0");
        let mut versions = Vec::new();
        collect_versions(&mut &*constants, &mut versions).unwrap();
        assert_eq!(versions, ["v0.2.0", "v10.0.1"]);
    }

    #[test]
    fn constants_are_the_read_only_parts_of_the_program() {
        let program = Path::new("/usr/bin/envoy");
        let parsed = |line| constants(line, program);
        let line = "5000-7000 r--p 00001000 fe:00 12   /usr/bin/envoy";
        assert_eq!(parsed(line), Some((0x1000, 0x2000)));
        for other in [
            "5000-7000 rw-p 00001000 fe:00 12   /usr/bin/envoy",
            "5000-7000 r--p 00001000 fe:00 12   /usr/lib/libc.so.6",
            "5000-7000 r--p 00000000 00:00 0",
        ] {
            assert_eq!(parsed(other), None, "{other}");
        }
    }

    #[test]
    fn another_abi_is_refused_with_a_remedy() {
        let found = |versions: &[&str]| {
            let versions: Vec<String> = versions.iter().map(|text| (*text).to_owned()).collect();
            judge(&versions)
        };
        assert_eq!(found(&["v0.9.9", TESTED_ABI]), Ok(()));
        let error = found(&["v0.3.0"]).unwrap_err();
        assert!(
            error.contains("v0.3.0") && error.contains("envoy_abi"),
            "{error}"
        );
        assert!(found(&[]).unwrap_err().contains("no version"));
    }
}
