//! Images: what a build came to. The same lines on the same base are the same image, until it is deleted.

use super::column::{At, Json};
use super::{State, StateError};
use rusqlite::{OptionalExtension as _, Row, Transaction, params};
use std::collections::BTreeMap;
use std::time::SystemTime;

/// An image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageRecord {
    /// `im-…`
    pub(crate) id: String,
    pub(crate) workspace: String,
    /// Of all that it was built from.
    pub(crate) digest: String,
    pub(crate) base: String,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) workdir: Option<String>,
    pub(crate) cmd: Vec<String>,
    pub(crate) entrypoint: Vec<String>,
    /// What shell forms are given to in layers above.
    pub(crate) shell: Vec<String>,
    /// What the build said, that of the layers below first.
    pub(crate) log: Vec<String>,
    /// So many lines of it are theirs.
    pub(crate) told: u32,
    pub(crate) created_at: SystemTime,
}

impl ImageRecord {
    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            workspace: row.get(1)?,
            digest: row.get(2)?,
            base: row.get(3)?,
            env: row.get::<_, Json<_>>(4)?.0,
            workdir: row.get(5)?,
            cmd: row.get::<_, Json<_>>(6)?.0,
            entrypoint: row.get::<_, Json<_>>(7)?.0,
            shell: row.get::<_, Json<_>>(8)?.0,
            log: row.get::<_, Json<_>>(9)?.0,
            told: row.get(10)?,
            created_at: row.get::<_, At>(11)?.time(),
        })
    }
}

fn by_digest(db: &Transaction<'_>, workspace: &str, digest: &str) -> rusqlite::Result<Option<ImageRecord>> {
    db.prepare_cached("SELECT * FROM images WHERE workspace = ? AND digest = ?")?
        .query_row(params![workspace, digest], ImageRecord::of)
        .optional()
}

impl State {
    /// The image that was built from this.
    pub(crate) async fn image_by_digest(
        &self,
        workspace: &str,
        digest: &str,
    ) -> Result<Option<ImageRecord>, StateError> {
        let (workspace, digest) = (workspace.to_owned(), digest.to_owned());
        self.read(move |_, db| Ok(by_digest(db, &workspace, &digest)?)).await
    }

    /// Keeps an image. Answers the one that is kept: where there is one of this digest already, that one.
    pub(crate) async fn put_image(&self, image: ImageRecord) -> Result<ImageRecord, StateError> {
        self.write(move |_, db| {
            if let Some(found) = by_digest(db, &image.workspace, &image.digest)? {
                return Ok(found);
            }
            let created_at = At::from(image.created_at);
            db.prepare_cached("INSERT INTO images VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")?.execute(params![
                image.id,
                image.workspace,
                image.digest,
                image.base,
                Json(&image.env),
                image.workdir,
                Json(&image.cmd),
                Json(&image.entrypoint),
                Json(&image.shell),
                Json(&image.log),
                image.told,
                created_at,
            ])?;
            Ok(ImageRecord { created_at: created_at.time(), ..image })
        })
        .await
    }

    /// The image with this id.
    pub(crate) async fn image(&self, workspace: &str, id: &str) -> Result<Option<ImageRecord>, StateError> {
        let (workspace, id) = (workspace.to_owned(), id.to_owned());
        self.read(move |_, db| {
            let mut row = db.prepare_cached("SELECT * FROM images WHERE id = ? AND workspace = ?")?;
            Ok(row.query_row(params![id, workspace], ImageRecord::of).optional()?)
        })
        .await
    }

    /// Forgets an image; whether there was one. Built again, it is another one.
    pub(crate) async fn delete_image(&self, workspace: &str, id: &str) -> Result<bool, StateError> {
        let (workspace, id) = (workspace.to_owned(), id.to_owned());
        self.write(move |_, db| {
            let mut gone = db.prepare_cached("DELETE FROM images WHERE id = ? AND workspace = ?")?;
            Ok(gone.execute(params![id, workspace])? > 0)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::fresh;
    use crate::state::scratch::Scratch;

    fn image(digest: &str) -> ImageRecord {
        ImageRecord {
            id: fresh("im"),
            workspace: "team".to_owned(),
            digest: digest.to_owned(),
            base: "debian".to_owned(),
            env: [("A".to_owned(), "1".to_owned())].into(),
            workdir: Some("/srv".to_owned()),
            cmd: vec!["sleep".to_owned(), "1".to_owned()],
            shell: Vec::new(),
            told: 0,
            entrypoint: Vec::new(),
            log: vec!["the host's python3 is used".to_owned()],
            created_at: SystemTime::now(),
        }
    }

    #[tokio::test]
    async fn the_same_build_is_the_same_image_until_it_is_deleted() {
        let scratch = Scratch::new().await;
        assert_eq!(scratch.state.image_by_digest("team", "d1").await.unwrap(), None);
        let first = scratch.state.put_image(image("d1")).await.unwrap();
        assert_eq!(scratch.state.put_image(image("d1")).await.unwrap(), first);
        let other = scratch.state.put_image(image("d2")).await.unwrap();
        let theirs = ImageRecord { workspace: "others".to_owned(), ..image("d1") };
        assert_ne!(scratch.state.put_image(theirs).await.unwrap().id, first.id);
        let scratch = scratch.restart().await;
        assert_eq!(scratch.state.image("team", &first.id).await.unwrap().as_ref(), Some(&first));
        assert_eq!(scratch.state.image_by_digest("team", "d1").await.unwrap().as_ref(), Some(&first));
        assert_eq!(scratch.state.image("others", &first.id).await.unwrap(), None);
        assert!(!scratch.state.delete_image("others", &first.id).await.unwrap());
        assert!(scratch.state.delete_image("team", &first.id).await.unwrap());
        assert!(!scratch.state.delete_image("team", &first.id).await.unwrap());
        assert_eq!(scratch.state.image("team", &first.id).await.unwrap(), None);
        assert_ne!(scratch.state.put_image(image("d1")).await.unwrap().id, first.id);
        assert_eq!(scratch.state.image("team", &other.id).await.unwrap(), Some(other));
    }
}
