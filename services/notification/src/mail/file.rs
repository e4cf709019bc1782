//! E-mails as files, one each, for laptops and tests.

use std::{fs, io, io::Write as _, path::Path};

use lettre::Message;
use uuid::Uuid;

use crate::{
    courier::SendError,
    domain::{DeliveryId, retry::Failure},
};

/// Writes `<delivery id>.eml`. A file is there whole or not at all, also after a power cut; a second write of the same
/// delivery replaces the first with the same bytes.
pub(super) async fn write(dir: &Path, id: DeliveryId, message: Message) -> Result<(), SendError> {
    let path = dir.join(format!("{id}.eml"));
    // Two replicas may write the same delivery at the same time; each has a draft of its own.
    let draft = dir.join(format!(".{id}.{}.draft", Uuid::now_v7().simple()));
    let failed = {
        let path = path.display().to_string();
        move |e: io::Error| SendError::new(Failure::Unreachable, format!("cannot write {path}: {e}"))
    };
    let dir = dir.to_owned();
    let written = tokio::task::spawn_blocking(move || {
        let file = fs::File::create(&draft).or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                return Err(error);
            }
            fs::create_dir_all(&dir)?;
            fs::File::create(&draft)
        });
        let written = file.and_then(|mut file| {
            file.write_all(&message.formatted())?;
            // Before it has its name: what is marked as sent must not be an empty file after a power cut.
            file.sync_all()?;
            fs::rename(&draft, &path)
        });
        if written.is_err() {
            // Nobody looks for a draft again.
            drop(fs::remove_file(&draft));
        }
        written
    });
    written.await.map_err(io::Error::other).and_then(|written| written).map_err(failed)
}

/// Makes the names last of all files that were written before: once for many, because it is the directory's.
pub(super) async fn settle(dir: &Path) -> io::Result<()> {
    let dir = dir.to_owned();
    tokio::task::spawn_blocking(move || {
        // Elsewhere a directory cannot be opened, and need not be.
        if cfg!(unix) { fs::File::open(dir)?.sync_all() } else { Ok(()) }
    })
    .await
    .map_err(io::Error::other)?
}
