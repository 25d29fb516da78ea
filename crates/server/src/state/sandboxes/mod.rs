//! Sandboxes: those that live and those that have ended, until they are pruned.
//!
//! A record is written before its sandbox is made, so that whatever a killed server leaves is known to the next one. The
//! first end that is told stays. No two of a workspace have the same time of creation: it is what clients page by.

mod query;
mod record;
#[cfg(test)]
mod tests;

pub(crate) use query::SandboxQuery;
pub(crate) use record::{EndRecord, PortRecord, ProbeRecord, SandboxRecord, SpecRecord};

use super::column::{At, Json};
use super::environments::named;
use super::{State, StateError};
use computesdk_core::EndCause;
use rusqlite::{OptionalExtension as _, Transaction, params};
use std::collections::BTreeMap;
use std::time::SystemTime;

/// What a sandbox that died with its server exited with: it was killed.
const LOST_EXIT_CODE: i32 = 137;

/// Whether another sandbox runs under this name.
fn is_taken(db: &Transaction<'_>, record: &SandboxRecord, name: &str) -> rusqlite::Result<bool> {
    db.prepare_cached(
        "SELECT 1 FROM sandboxes WHERE workspace = ? AND environment = ? AND app_id = ? AND name = ?
         AND ended_at IS NULL AND id <> ?",
    )?
    .exists(params![record.workspace, record.environment, record.app_id, name, record.id])
}

impl State {
    /// Keeps a new sandbox. Answers its time of creation as it is kept: another one may have had the same.
    ///
    /// # Errors
    /// [`StateError::NameTaken`] where a running sandbox of the app has the name.
    pub(crate) async fn insert_sandbox(&self, record: &SandboxRecord) -> Result<SystemTime, StateError> {
        let mut record = record.clone();
        record.environment = named(&record.environment);
        self.write(move |_, db| {
            if let Some(name) = record.name.as_ref().filter(|_| record.ended_at.is_none())
                && is_taken(db, &record, name)?
            {
                return Err(StateError::NameTaken { name: name.clone() });
            }
            let mut created_at = At::from(record.created_at);
            let mut same = db.prepare_cached("SELECT 1 FROM sandboxes WHERE workspace = ? AND created_at = ?")?;
            while same.exists(params![record.workspace, created_at])? {
                created_at.0 += 1;
            }
            let (ready_at, ended_at) = (record.ready_at.map(At::from), record.ended_at.map(At::from));
            db.prepare_cached("INSERT INTO sandboxes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")?.execute(
                params![
                    record.id,
                    record.task_id,
                    record.workspace,
                    record.environment,
                    record.app_id,
                    record.name,
                    Json(&record.tags),
                    created_at,
                    ready_at,
                    ended_at,
                    record.end.as_ref().map(Json),
                    record.provider_id,
                    Json(&record.spec),
                ],
            )?;
            Ok(created_at.time())
        })
        .await
    }

    /// Notes what the provider calls it; whether there is such a sandbox.
    pub(crate) async fn set_provider_id(&self, id: &str, provider_id: &str) -> Result<bool, StateError> {
        let (id, provider_id) = (id.to_owned(), provider_id.to_owned());
        self.write(move |_, db| {
            let mut change = db.prepare_cached("UPDATE sandboxes SET provider_id = ? WHERE id = ?")?;
            Ok(change.execute(params![provider_id, id])? > 0)
        })
        .await
    }

    /// Replaces all of its tags; whether there is such a sandbox.
    pub(crate) async fn set_tags(&self, id: &str, tags: &BTreeMap<String, String>) -> Result<bool, StateError> {
        let (id, tags) = (id.to_owned(), tags.clone());
        self.write(move |_, db| {
            let mut change = db.prepare_cached("UPDATE sandboxes SET tags = ? WHERE id = ?")?;
            Ok(change.execute(params![Json(tags), id])? > 0)
        })
        .await
    }

    /// Gives it another name, or none; whether there is such a sandbox.
    ///
    /// # Errors
    /// [`StateError::NameTaken`] where another running sandbox of the app has the name.
    pub(crate) async fn set_name(&self, id: &str, name: Option<&str>) -> Result<bool, StateError> {
        let (id, name) = (id.to_owned(), name.map(ToOwned::to_owned));
        self.write(move |_, db| {
            let mut row = db.prepare_cached("SELECT * FROM sandboxes WHERE id = ?")?;
            let Some(record) = row.query_row([&id], SandboxRecord::of).optional()? else { return Ok(false) };
            if let Some(name) = name.as_ref().filter(|_| record.ended_at.is_none())
                && is_taken(db, &record, name)?
            {
                return Err(StateError::NameTaken { name: name.clone() });
            }
            db.prepare_cached("UPDATE sandboxes SET name = ? WHERE id = ?")?.execute(params![name, id])?;
            Ok(true)
        })
        .await
    }

    /// Notes when it became ready, once; whether this was it.
    pub(crate) async fn set_ready(&self, id: &str, at: SystemTime) -> Result<bool, StateError> {
        let id = id.to_owned();
        self.write(move |_, db| {
            let mut change =
                db.prepare_cached("UPDATE sandboxes SET ready_at = ? WHERE id = ? AND ready_at IS NULL")?;
            Ok(change.execute(params![At::from(at), id])? > 0)
        })
        .await
    }

    /// Notes how it ended, and frees its name. The first end wins; whether this was it.
    pub(crate) async fn end_sandbox(&self, id: &str, end: EndRecord, at: SystemTime) -> Result<bool, StateError> {
        let id = id.to_owned();
        self.write(move |_, db| {
            let mut change =
                db.prepare_cached(r#"UPDATE sandboxes SET ended_at = ?, "end" = ? WHERE id = ? AND ended_at IS NULL"#)?;
            Ok(change.execute(params![At::from(at), Json(end), id])? > 0)
        })
        .await
    }

    /// Forgets it, as if it had never been; whether there was one. For creations that failed.
    pub(crate) async fn remove_sandbox(&self, id: &str) -> Result<bool, StateError> {
        let id = id.to_owned();
        self.write(move |_, db| Ok(db.prepare_cached("DELETE FROM sandboxes WHERE id = ?")?.execute([id])? > 0)).await
    }

    /// All that have not ended, of every workspace, oldest first.
    #[cfg(test)]
    pub(crate) async fn unfinished(&self) -> Result<Vec<SandboxRecord>, StateError> {
        self.read(|_, db| {
            let mut rows = db.prepare_cached("SELECT * FROM sandboxes WHERE ended_at IS NULL ORDER BY created_at")?;
            let rows = rows.query_map([], SandboxRecord::of)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// For a server that starts: what had not ended died with the one before. Answers the ids.
    pub(crate) async fn mark_lost(&self, reason: &str) -> Result<Vec<String>, StateError> {
        let cause = EndCause::HostLost { reason: reason.to_owned() };
        let end = EndRecord { cause, exit_code: LOST_EXIT_CODE };
        self.write(move |_, db| {
            let mut change = db.prepare_cached(
                r#"UPDATE sandboxes SET ended_at = ?, "end" = ? WHERE ended_at IS NULL RETURNING id"#,
            )?;
            let ids = change.query_map(params![At::now(), Json(end)], |row| row.get(0))?;
            Ok(ids.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Forgets those that ended longest ago, but for the last `keep_ended` of each workspace. Answers how many.
    pub(crate) async fn prune(&self, keep_ended: usize) -> Result<usize, StateError> {
        let keep = i64::try_from(keep_ended).unwrap_or(i64::MAX);
        self.write(move |_, db| {
            let mut gone = db.prepare_cached(
                "DELETE FROM sandboxes WHERE id IN (SELECT id FROM
                 (SELECT id, ROW_NUMBER() OVER (PARTITION BY workspace ORDER BY ended_at DESC, created_at DESC) AS at
                  FROM sandboxes WHERE ended_at IS NOT NULL) WHERE at > ?)",
            )?;
            Ok(gone.execute([keep])?)
        })
        .await
    }
}
