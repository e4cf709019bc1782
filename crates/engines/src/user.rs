//! As whom the engines run. PostgreSQL refuses to run as root, so root lends the engines an unprivileged user.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::error::{Error, IoContext, Result};

/// A user other than the one we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Whether this process may do everything, and PostgreSQL therefore must run as somebody else.
pub(crate) fn is_root() -> Result<bool> {
    static ROOT: OnceLock<bool> = OnceLock::new();
    if let Some(root) = ROOT.get() {
        return Ok(*root);
    }
    let output = Command::new("id")
        .arg("-u")
        .stdin(Stdio::null())
        .output()
        .map_err(|source| Error::Program { program: "id".to_owned(), source })?;
    let root = String::from_utf8_lossy(&output.stdout).trim() == "0";
    Ok(*ROOT.get_or_init(|| root))
}

/// Whom to run the engines as: nobody else when we are not root. Databases that exist already stay with their owner,
/// otherwise it is the user who was asked for, `postgres` or `nobody`.
pub(crate) fn account(asked: Option<&str>, databases: &Path) -> Result<Option<Account>> {
    if !is_root()? {
        return Ok(None);
    }
    let passwd = fs::read_to_string("/etc/passwd").context("read", "/etc/passwd")?;
    if let Ok(owner) = fs::metadata(databases)
        && owner.uid() != 0
    {
        let name = entries(&passwd).find(|known| known.uid == owner.uid()).map(|known| known.name);
        let name = name.unwrap_or_else(|| format!("number {}", owner.uid()));
        return Ok(Some(Account { name, uid: owner.uid(), gid: owner.gid() }));
    }
    let wanted = asked.map_or_else(|| vec!["postgres", "nobody"], |name| vec![name]);
    let found = wanted.iter().find_map(|name| entries(&passwd).find(|known| known.name == *name && known.uid != 0));
    match found {
        Some(account) => Ok(Some(account)),
        None => {
            let verb = if wanted.len() == 1 { "was" } else { "were" };
            Err(Error::NoAccount { tried: format!("{} {verb}", wanted.join(" and ")) })
        }
    }
}

fn entries(passwd: &str) -> impl Iterator<Item = Account> + '_ {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Account { name, uid, gid })
    })
}

/// Hands a file or directory over to the account, when there is one.
pub(crate) fn give(path: &Path, account: Option<&Account>) -> Result<()> {
    match account {
        Some(account) => chown(path, Some(account.uid), Some(account.gid)).context("change the owner of", path),
        None => Ok(()),
    }
}

/// Fails with a plain message when the account cannot reach `wanted`, which exists.
pub(crate) fn check_reach(wanted: &Path, account: Option<&Account>) -> Result<()> {
    use std::os::unix::process::CommandExt;

    let Some(account) = account else { return Ok(()) };
    // Asking the system as that user knows about groups and access lists; looking at mode bits would not.
    let mut parents: Vec<&Path> = wanted.ancestors().collect();
    parents.reverse();
    let output = Command::new("sh")
        .args(["-c", r#"for dir; do [ -x "$dir" ] || { printf %s "$dir"; exit 1; }; done"#, "sh"])
        .args(parents)
        .current_dir("/")
        .uid(account.uid)
        .gid(account.gid)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| Error::Program { program: "sh".to_owned(), source })?;
    if output.status.success() {
        return Ok(());
    }
    let blocked = String::from_utf8_lossy(&output.stdout).into_owned();
    Err(Error::NotTraversable {
        account: account.name.clone(),
        wanted: wanted.to_owned(),
        blocked: PathBuf::from(blocked),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_passwd_file() {
        let text =
            "root:x:0:0:root:/root:/bin/bash\n# odd line\npostgres:x:101:104:admin,,,:/var/lib/postgresql:/bin/sh\n";
        let all: Vec<Account> = entries(text).collect();
        assert_eq!(all.len(), 2);
        assert_eq!(all[1], Account { name: "postgres".to_owned(), uid: 101, gid: 104 });
    }
}
