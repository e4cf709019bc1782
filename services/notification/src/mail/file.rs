//! E-mails as files, one each, for laptops and tests.

use std::path::Path;

use lettre::Message;
use uuid::Uuid;

use super::SendError;
use crate::domain::{DeliveryId, retry::Failure};

/// Writes `<delivery id>.eml`. A file is there whole or not at all; a second write of the same delivery replaces the
/// first with the same bytes.
pub(super) async fn write(dir: &Path, id: DeliveryId, message: Message) -> Result<(), SendError> {
    let bytes = message.formatted();
    let path = dir.join(format!("{id}.eml"));
    // Two replicas may write the same delivery at the same time; each has a draft of its own.
    let draft = dir.join(format!(".{id}.{}.draft", Uuid::now_v7().simple()));
    let written = async {
        if let Err(error) = tokio::fs::write(&draft, &bytes).await {
            if error.kind() != std::io::ErrorKind::NotFound {
                return Err(error);
            }
            tokio::fs::create_dir_all(dir).await?;
            tokio::fs::write(&draft, &bytes).await?;
        }
        tokio::fs::rename(&draft, &path).await
    };
    written.await.map_err(|e| SendError::new(Failure::Unreachable, format!("cannot write {}: {e}", path.display())))
}
