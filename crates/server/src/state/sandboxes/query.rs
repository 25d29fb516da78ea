//! Finding sandboxes: by id, by task, by name, and page by page.

use super::SandboxRecord;
use crate::state::column::{At, Json};
use crate::state::environments::named;
use crate::state::{State, StateError};
use rusqlite::{OptionalExtension as _, params};
use std::collections::BTreeMap;
use std::time::SystemTime;

/// Which sandboxes to list: all of these must hold.
#[derive(Debug, Clone, Default)]
pub(crate) struct SandboxQuery {
    pub(crate) workspace: String,
    pub(crate) environment: Option<String>,
    pub(crate) app_id: Option<String>,
    /// Created strictly before.
    pub(crate) before: Option<SystemTime>,
    /// Also those that have ended.
    pub(crate) include_finished: bool,
    /// It has all of these, with these values.
    pub(crate) tags: BTreeMap<String, String>,
    /// At most so many.
    pub(crate) limit: usize,
}

impl State {
    /// The sandbox with this id.
    pub(crate) async fn sandbox(&self, workspace: &str, id: &str) -> Result<Option<SandboxRecord>, StateError> {
        let (workspace, id) = (workspace.to_owned(), id.to_owned());
        self.read(move |_, db| {
            let mut row = db.prepare_cached("SELECT * FROM sandboxes WHERE id = ? AND workspace = ?")?;
            Ok(row.query_row(params![id, workspace], SandboxRecord::of).optional()?)
        })
        .await
    }

    /// The sandbox whose task has this id.
    pub(crate) async fn sandbox_by_task(
        &self,
        workspace: &str,
        task_id: &str,
    ) -> Result<Option<SandboxRecord>, StateError> {
        let (workspace, task_id) = (workspace.to_owned(), task_id.to_owned());
        self.read(move |_, db| {
            let mut row = db.prepare_cached("SELECT * FROM sandboxes WHERE task_id = ? AND workspace = ?")?;
            Ok(row.query_row(params![task_id, workspace], SandboxRecord::of).optional()?)
        })
        .await
    }

    /// The running sandbox of this name in an app; with `include_terminated`, else the newest that had it.
    pub(crate) async fn find_sandbox(
        &self,
        workspace: &str,
        environment: &str,
        app_name: &str,
        name: &str,
        include_terminated: bool,
    ) -> Result<Option<SandboxRecord>, StateError> {
        let (workspace, environment) = (workspace.to_owned(), named(environment));
        let (app_name, name) = (app_name.to_owned(), name.to_owned());
        self.read(move |_, db| {
            let mut row = db.prepare_cached(
                "SELECT sandboxes.* FROM apps JOIN sandboxes ON sandboxes.app_id = apps.id
                 AND sandboxes.workspace = apps.workspace AND sandboxes.environment = apps.environment
                 WHERE apps.workspace = ? AND apps.environment = ? AND apps.name = ? AND sandboxes.name = ?
                 AND (? OR ended_at IS NULL)
                 ORDER BY ended_at IS NULL DESC, sandboxes.created_at DESC LIMIT 1",
            )?;
            let wanted = params![workspace, environment, app_name, name, include_terminated];
            Ok(row.query_row(wanted, SandboxRecord::of).optional()?)
        })
        .await
    }

    /// Sandboxes, newest first.
    pub(crate) async fn list_sandboxes(&self, query: SandboxQuery) -> Result<Vec<SandboxRecord>, StateError> {
        self.read(move |_, db| {
            // Nothing is put into the text: a filter that is not given is a condition that always holds.
            let mut rows = db.prepare_cached(
                "SELECT * FROM sandboxes WHERE workspace = ?1
                 AND (?2 IS NULL OR environment = ?2)
                 AND (?3 IS NULL OR app_id = ?3)
                 AND created_at < ?4
                 AND (?5 OR ended_at IS NULL)
                 AND NOT EXISTS (SELECT 1 FROM json_each(?6) AS wanted WHERE NOT EXISTS
                     (SELECT 1 FROM json_each(sandboxes.tags) AS tag
                      WHERE tag.key = wanted.key AND tag.value = wanted.value))
                 ORDER BY created_at DESC LIMIT ?7",
            )?;
            let before = query.before.map_or(At(i64::MAX), At::from);
            let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
            let rows = rows.query_map(
                params![
                    query.workspace,
                    query.environment.as_deref().map(named),
                    query.app_id,
                    before,
                    query.include_finished,
                    Json(&query.tags),
                    limit
                ],
                SandboxRecord::of,
            )?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }
}
