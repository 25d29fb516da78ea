//! Apps: what sandboxes are grouped by, and what their names are unique in.

use super::column::At;
use super::environments::{self, named};
use super::{State, StateError};
use crate::ids::fresh;
use rusqlite::{OptionalExtension as _, Row, Transaction, params};
use std::time::SystemTime;

/// An app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AppRecord {
    /// `ap-…`
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) environment: String,
    pub(crate) workspace: String,
    pub(crate) created_at: SystemTime,
}

impl AppRecord {
    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            workspace: row.get(1)?,
            environment: row.get(2)?,
            name: row.get(3)?,
            created_at: row.get::<_, At>(4)?.time(),
        })
    }
}

fn by_name(
    db: &Transaction<'_>,
    workspace: &str,
    environment: &str,
    name: &str,
) -> rusqlite::Result<Option<AppRecord>> {
    db.prepare_cached("SELECT * FROM apps WHERE workspace = ? AND environment = ? AND name = ?")?
        .query_row(params![workspace, environment, name], AppRecord::of)
        .optional()
}

impl State {
    /// The app of this name. With `create`, it is made if there is none; never in an environment that is not there.
    pub(crate) async fn app(
        &self,
        workspace: &str,
        environment: &str,
        name: &str,
        create: bool,
    ) -> Result<Option<AppRecord>, StateError> {
        let (workspace, environment, name) = (workspace.to_owned(), named(environment), name.to_owned());
        self.write(move |_, db| {
            let found = by_name(db, &workspace, &environment, &name)?;
            if found.is_some() || !create || environments::get(db, &workspace, &environment, false)?.is_none() {
                return Ok(found);
            }
            db.prepare_cached("INSERT INTO apps VALUES (?, ?, ?, ?, ?)")?.execute(params![
                fresh("ap"),
                workspace,
                environment,
                name,
                At::now()
            ])?;
            Ok(by_name(db, &workspace, &environment, &name)?)
        })
        .await
    }

    /// The app with this id.
    pub(crate) async fn app_by_id(&self, workspace: &str, id: &str) -> Result<Option<AppRecord>, StateError> {
        let (workspace, id) = (workspace.to_owned(), id.to_owned());
        self.read(move |_, db| {
            let mut rows = db.prepare_cached("SELECT * FROM apps WHERE workspace = ? AND id = ?")?;
            Ok(rows.query_row(params![workspace, id], AppRecord::of).optional()?)
        })
        .await
    }

    /// The apps of an environment, by name.
    pub(crate) async fn apps(&self, workspace: &str, environment: &str) -> Result<Vec<AppRecord>, StateError> {
        let (workspace, environment) = (workspace.to_owned(), named(environment));
        self.read(move |_, db| {
            let mut rows =
                db.prepare_cached("SELECT * FROM apps WHERE workspace = ? AND environment = ? ORDER BY name")?;
            let rows = rows.query_map(params![workspace, environment], AppRecord::of)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use crate::state::scratch::Scratch;

    #[tokio::test]
    async fn apps_are_known_by_name_within_their_environment() {
        let scratch = Scratch::new().await;
        let state = &scratch.state;
        assert_eq!(state.app("team", "", "web", false).await.unwrap(), None);
        assert_eq!(state.app("team", "nowhere", "web", true).await.unwrap(), None);
        let web = state.app("team", "", "web", true).await.unwrap().unwrap();
        assert!(crate::ids::fresh("ap").len() == web.id.len() && web.id.starts_with("ap-"));
        assert_eq!((web.environment.as_str(), web.workspace.as_str()), ("main", "team"));
        assert_eq!(state.app("team", "main", "web", true).await.unwrap().as_ref(), Some(&web));
        assert_eq!(state.app_by_id("team", &web.id).await.unwrap().as_ref(), Some(&web));
        assert_eq!(state.app_by_id("others", &web.id).await.unwrap(), None);
        assert_eq!(state.app("others", "main", "web", false).await.unwrap(), None);
        state.environment("team", "dev", true).await.unwrap().unwrap();
        let dev = state.app("team", "dev", "web", true).await.unwrap().unwrap();
        assert_ne!(dev.id, web.id);
        let api = state.app("team", "dev", "api", true).await.unwrap().unwrap();
        let scratch = scratch.restart().await;
        assert_eq!(scratch.state.apps("team", "dev").await.unwrap(), [api, dev]);
        assert_eq!(scratch.state.apps("team", "").await.unwrap(), [web]);
    }
}
