//! Finding sandboxes again: by id, by name, in the list.

use crate::check::{Outcome, refused};
use crate::context::Context;
use crate::probe::script;
use computesdk::Sandbox;
use computesdk_core::{CreateOptions, ErrorKind, ListFilter, SandboxId};
use std::collections::BTreeMap;

trials! { "lookup";
    get_by_id_gives_the_same_sandbox[Reconnect],
    get_by_id_of_an_unknown_id_is_none,
    create_with_sandbox_id_connects[Reconnect],
    create_with_an_unknown_sandbox_id_is_not_found[Reconnect],
    list_contains_what_lives_and_nothing_else[List],
    list_filters_by_all_of_the_metadata[List],
    list_is_oldest_first[List],
    find_by_name[Names],
    find_of_an_unknown_name_is_none[Names],
    a_taken_name_already_exists[Names],
    a_name_is_free_again_after_destroy[Names],
    creating_one_name_twice_at_once_makes_one[Names],
}

async fn get_by_id_gives_the_same_sandbox(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    script(&sandbox, "echo here > /tmp/mark").await?;
    let again = cx.compute.sandbox().get_by_id(sandbox.sandbox_id()).await?;
    let Some(again) = again else { return Err(crate::check::Failure::new("get_by_id found nothing")) };
    ensure_eq!(again.sandbox_id(), sandbox.sandbox_id(), "the id");
    ensure_eq!(again.provider(), cx.name, "the provider");
    ensure_eq!(script(&again, "cat /tmp/mark").await?, "here", "a file made through the other handle");
    Ok(())
}

async fn get_by_id_of_an_unknown_id_is_none(cx: &Context) -> Outcome {
    for id in [cx.unique("sb"), "../../etc".into(), "sb-\u{e9} \n".into()] {
        ensure!(cx.compute.sandbox().get_by_id(id.as_str()).await?.is_none(), "found a sandbox with the id {id:?}");
    }
    Ok(())
}

async fn create_with_sandbox_id_connects(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let mut options = CreateOptions::default();
    options.sandbox_id = Some(SandboxId::new(sandbox.sandbox_id()));
    let again = cx.create(options).await?;
    ensure_eq!(again.sandbox_id(), sandbox.sandbox_id(), "the id");
    Ok(())
}

async fn create_with_an_unknown_sandbox_id_is_not_found(cx: &Context) -> Outcome {
    let mut options = CreateOptions::default();
    options.sandbox_id = Some(SandboxId::new(cx.unique("sb")));
    refused("connecting to an unknown id", ErrorKind::NotFound, cx.create(options).await)?;
    Ok(())
}

/// A sandbox with these notes.
async fn noted(cx: &Context, notes: &[(&str, &str)]) -> Outcome<Sandbox> {
    let mut options = CreateOptions::default();
    options.metadata = notes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Ok(cx.create(options).await?)
}

/// The ids that `list` gives for these notes.
async fn listed(cx: &Context, notes: &[(&str, &str)]) -> Outcome<Vec<String>> {
    let mut filter = ListFilter::default();
    filter.metadata =
        notes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>();
    Ok(cx.provider.list(&filter).await?.iter().map(|sandbox| sandbox.id().to_string()).collect())
}

async fn list_contains_what_lives_and_nothing_else(cx: &Context) -> Outcome {
    let (lives, ends) = (cx.sandbox().await?, cx.sandbox().await?);
    let ids = |list: Vec<Sandbox>| list.iter().map(|sandbox| sandbox.sandbox_id().to_owned()).collect::<Vec<_>>();
    let list = ids(cx.compute.sandbox().list().await?);
    for sandbox in [&lives, &ends] {
        let count = list.iter().filter(|id| *id == sandbox.sandbox_id()).count();
        ensure_eq!(count, 1, "how often a running sandbox is listed");
    }
    ends.destroy().await?;
    let list = ids(cx.compute.sandbox().list().await?);
    ensure!(list.iter().any(|id| id == lives.sandbox_id()), "the one that lives is no longer listed");
    ensure!(!list.iter().any(|id| id == ends.sandbox_id()), "a destroyed sandbox is still listed");
    Ok(())
}

async fn list_filters_by_all_of_the_metadata(cx: &Context) -> Outcome {
    let mark = cx.unique("mark");
    let one = noted(cx, &[("mark", &mark), ("n", "1")]).await?;
    let two = noted(cx, &[("mark", &mark), ("n", "2")]).await?;
    let mut both = listed(cx, &[("mark", &mark)]).await?;
    both.sort();
    let mut expected = vec![one.sandbox_id().to_owned(), two.sandbox_id().to_owned()];
    expected.sort();
    ensure_eq!(both, expected, "those with the common note");
    ensure_eq!(listed(cx, &[("mark", &mark), ("n", "2")]).await?, [two.sandbox_id()], "those with both notes");
    ensure_eq!(listed(cx, &[("mark", &mark), ("n", "3")]).await?.len(), 0, "how many have a note nobody has");
    ensure_eq!(listed(cx, &[("mark", &mark[1..])]).await?.len(), 0, "how many have a part of the value");
    Ok(())
}

async fn list_is_oldest_first(cx: &Context) -> Outcome {
    let mark = cx.unique("mark");
    let mut expected = Vec::new();
    for _ in 0..3 {
        expected.push(noted(cx, &[("mark", &mark)]).await?.sandbox_id().to_owned());
    }
    ensure_eq!(listed(cx, &[("mark", &mark)]).await?, expected, "the order of the list");
    Ok(())
}

/// Options with this name.
fn named(name: &str) -> CreateOptions {
    let mut options = CreateOptions::default();
    options.name = Some(name.to_owned());
    options
}

async fn find_by_name(cx: &Context) -> Outcome {
    let name = cx.unique("name");
    let sandbox = cx.create(named(&name)).await?;
    ensure_eq!(sandbox.get_info().await?.name, Some(name.clone()), "the name in the info");
    let found = cx.provider.find(&name).await?.map(|sandbox| sandbox.id().to_string());
    ensure_eq!(found.as_deref(), Some(sandbox.sandbox_id()), "the sandbox of that name");
    Ok(())
}

async fn find_of_an_unknown_name_is_none(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    for name in [cx.unique("name"), sandbox.sandbox_id().to_owned()] {
        ensure!(cx.provider.find(&name).await?.is_none(), "found a sandbox with the name {name:?}");
    }
    Ok(())
}

async fn a_taken_name_already_exists(cx: &Context) -> Outcome {
    let name = cx.unique("name");
    let first = cx.create(named(&name)).await?;
    let error = refused("the second of that name", ErrorKind::AlreadyExists, cx.create(named(&name)).await)?;
    ensure!(error.to_string().contains(&name), "the error does not say which name: {error}");
    script(&first, "true").await?;
    Ok(())
}

async fn a_name_is_free_again_after_destroy(cx: &Context) -> Outcome {
    let name = cx.unique("name");
    let first = cx.create(named(&name)).await?;
    first.destroy().await?;
    ensure!(cx.provider.find(&name).await?.is_none(), "find gives a destroyed sandbox");
    let second = cx.create(named(&name)).await?;
    ensure!(second.sandbox_id() != first.sandbox_id(), "the second has the id of the first");
    Ok(())
}

async fn creating_one_name_twice_at_once_makes_one(cx: &Context) -> Outcome {
    let name = cx.unique("name");
    let (one, two) = tokio::join!(cx.create(named(&name)), cx.create(named(&name)));
    let loser = match (one, two) {
        (Ok(_), loser @ Err(_)) | (loser @ Err(_), Ok(_)) => loser,
        (one, two) => return Err(crate::check::Failure::new(format!("expected one winner: {one:?}, {two:?}"))),
    };
    refused("the one that came second", ErrorKind::AlreadyExists, loser)?;
    Ok(())
}
