//! Environments: the rooms of a workspace. Apps and named secrets belong to one.

use super::column::At;
use super::{State, StateError};
use crate::ids::fresh;
use rusqlite::{OptionalExtension as _, Row, Transaction, params};
use std::time::SystemTime;

/// The environment that a request means when it names none. It is always there.
pub(crate) const DEFAULT_ENVIRONMENT: &str = "main";

/// An environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EnvironmentRecord {
    /// `en-…`
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) created_at: SystemTime,
}

impl EnvironmentRecord {
    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self { id: row.get(0)?, name: row.get(1)?, created_at: row.get::<_, At>(2)?.time() })
    }
}

/// What a request means by this name.
pub(super) fn named(name: &str) -> String {
    if name.is_empty() { DEFAULT_ENVIRONMENT.to_owned() } else { name.to_owned() }
}

/// The environment, made if it may be. `name` is not empty.
pub(super) fn get(
    db: &Transaction<'_>,
    workspace: &str,
    name: &str,
    create: bool,
) -> Result<Option<EnvironmentRecord>, StateError> {
    let look = |db: &Transaction<'_>| {
        db.prepare_cached("SELECT id, name, created_at FROM environments WHERE workspace = ? AND name = ?")?
            .query_row(params![workspace, name], EnvironmentRecord::of)
            .optional()
    };
    let found = look(db)?;
    if found.is_some() || !(create || name == DEFAULT_ENVIRONMENT) {
        return Ok(found);
    }
    db.prepare_cached("INSERT INTO environments VALUES (?, ?, ?, ?)")?.execute(params![
        fresh("en"),
        workspace,
        name,
        At::now()
    ])?;
    Ok(look(db)?)
}

impl State {
    /// The environment of this name; without one, `main`. With `create`, it is made if there is none.
    pub(crate) async fn environment(
        &self,
        workspace: &str,
        name: &str,
        create: bool,
    ) -> Result<Option<EnvironmentRecord>, StateError> {
        let (workspace, name) = (workspace.to_owned(), named(name));
        self.write(move |_, db| get(db, &workspace, &name, create)).await
    }

    /// The environments of a workspace, by name.
    pub(crate) async fn environments(&self, workspace: &str) -> Result<Vec<EnvironmentRecord>, StateError> {
        let workspace = workspace.to_owned();
        self.write(move |_, db| {
            get(db, &workspace, DEFAULT_ENVIRONMENT, true)?;
            let mut rows =
                db.prepare_cached("SELECT id, name, created_at FROM environments WHERE workspace = ? ORDER BY name")?;
            let rows = rows.query_map([workspace], EnvironmentRecord::of)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Removes an environment with its apps and named secrets; whether there was one. Its sandboxes are still known.
    pub(crate) async fn delete_environment(&self, workspace: &str, name: &str) -> Result<bool, StateError> {
        let (workspace, name) = (workspace.to_owned(), named(name));
        self.write(move |_, db| {
            let mut gone = db.prepare_cached("DELETE FROM environments WHERE workspace = ? AND name = ?")?;
            Ok(gone.execute(params![workspace, name])? > 0)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use crate::state::scratch::{Scratch, sandbox};
    use crate::state::{SecretMode, SecretWrite};

    #[tokio::test]
    async fn main_is_always_there_and_others_when_they_are_made() {
        let scratch = Scratch::new().await;
        let state = &scratch.state;
        let main = state.environment("team", "", false).await.unwrap().unwrap();
        assert_eq!((main.name.as_str(), &main.id[..3]), ("main", "en-"));
        assert_eq!(state.environment("team", "main", true).await.unwrap().as_ref(), Some(&main));
        assert_eq!(state.environment("team", "dev", false).await.unwrap(), None);
        let dev = state.environment("team", "dev", true).await.unwrap().unwrap();
        assert_eq!(state.environments("others").await.unwrap().len(), 1);
        let scratch = scratch.restart().await;
        assert_eq!(scratch.state.environments("team").await.unwrap(), [dev, main]);
    }

    #[tokio::test]
    async fn what_is_in_one_goes_with_it_but_not_its_sandboxes() {
        let scratch = Scratch::new().await;
        let state = &scratch.state;
        for environment in ["dev", "main"] {
            state.environment("team", environment, true).await.unwrap();
            state.app("team", environment, "web", true).await.unwrap().unwrap();
            let (name, values) = (Some("keys".to_owned()), [("K".to_owned(), "v".into())].into());
            let secret = SecretWrite { name, app_id: None, values, mode: SecretMode::FailIfExists };
            state.put_secret("team", environment, secret).await.unwrap();
        }
        let mut record = sandbox(None);
        record.environment = "dev".to_owned();
        state.insert_sandbox(&record).await.unwrap();
        assert!(!state.delete_environment("others", "dev").await.unwrap());
        assert!(state.delete_environment("team", "dev").await.unwrap());
        assert!(!state.delete_environment("team", "dev").await.unwrap());
        assert!(state.apps("team", "dev").await.unwrap().is_empty());
        assert!(state.secret_by_name("team", "dev", "keys").await.unwrap().is_none());
        assert!(state.sandbox("team", &record.id).await.unwrap().is_some());
        assert_eq!(state.apps("team", "").await.unwrap().len(), 1);
        assert!(state.secret_by_name("team", "", "keys").await.unwrap().is_some());
    }
}
