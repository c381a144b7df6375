//! Where client libraries are installed: once a machine, outside the clone, under a lock.
//!
//! Each lives in `$XDG_CACHE_HOME/streamhouse/clients/LANGUAGE-HASH` (`~/.cache` by default). The hash is over all that
//! decides what ends up there, so a changed lock file gets a new folder and an old clone still finds its own.

use std::fs;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The folder of what `ingredients` (lock files, sources that are compiled, the toolchain's version) make. Calls `build`
/// with the empty folder if no earlier call ended well; others wait meanwhile. What `build` writes may name the folder.
pub fn installed(
    language: &str,
    ingredients: &[&str],
    build: impl FnOnce(&Path) -> Result<(), String>,
) -> Result<PathBuf, String> {
    let clients = cache_dir();
    let dir = clients.join(format!("{language}-{:016x}", hash(ingredients)));
    let done = dir.join("installed");
    fs::create_dir_all(&clients).map_err(|e| format!("{}: {e}", clients.display()))?;
    let _lock = lock(&dir.with_extension("lock"))?;
    if done.exists() {
        return Ok(dir);
    }
    if dir.exists() {
        fs::remove_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    }
    eprintln!("installing the {language} clients into {}", dir.display());
    fs::create_dir(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    build(&dir)?;
    fs::write(&done, "").map_err(|e| format!("{}: {e}", done.display()))?;
    Ok(dir)
}

/// The first line that a tool prints about its version; `package` is what to install when it is missing.
pub fn tool_version(tool: &str, argument: &str, package: &str) -> Result<String, String> {
    let missing = || format!("`{tool}` is missing: apt-get install {package}");
    let output = Command::new(tool)
        .arg(argument)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("{} ({e})", missing()))?;
    if !output.status.success() {
        return Err(format!(
            "`{tool} {argument}` fails: {}",
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// Runs a step of an installation to its end. The error has all that it said.
pub fn run(command: &mut Command) -> Result<(), String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("{}: {e}", command.get_program().to_string_lossy()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "{command:?} ended with {}:\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    ))
}

fn cache_dir() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .filter(|dir| !dir.is_empty())
        .map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/tmp".into())).join(".cache");
    cache.unwrap_or_else(home).join("streamhouse").join("clients")
}

/// FNV-1a; the end of each ingredient counts.
pub(crate) fn hash(ingredients: &[&str]) -> u64 {
    let bytes = ingredients
        .iter()
        .flat_map(|text| text.bytes().map(u64::from).chain([0x100]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ byte).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Test processes run side by side: one installs, the others wait.
fn lock(path: &Path) -> Result<fs::File, String> {
    let file = fs::File::create(path).map_err(|e| format!("{}: {e}", path.display()))?;
    // SAFETY: the descriptor is open as long as `file` lives; closing it unlocks.
    match unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) } {
        0 => Ok(file),
        _ => Err(format!("{}: {}", path.display(), std::io::Error::last_os_error())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_tells_ingredients_apart() {
        assert_ne!(hash(&["ab", "c"]), hash(&["a", "bc"]));
        assert_ne!(hash(&["a"]), hash(&["a", ""]));
        assert_eq!(hash(&["a", "b"]), hash(&["a", "b"]));
    }
}
