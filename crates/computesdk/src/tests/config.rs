use crate::testing::Host;
use crate::{
    Compute, ComputeConfig, CreateOptions, CreateParams, Error, ErrorKind, IntoProvider as _, Provider, Runtime,
    SandboxStatus, compute,
};
use std::sync::Arc;

fn host(name: &'static str) -> Arc<dyn Provider> {
    Host::new(name).into_provider()
}

fn name(compute: &Compute) -> Option<String> {
    compute.get_config().map(|config| config.provider.name().to_owned())
}

#[test]
fn the_config_is_none_then_set_then_overwritten_then_cleared() {
    let compute = Compute::new();
    assert_eq!(name(&compute), None);
    compute.set_config(ComputeConfig::new(host("a")));
    assert_eq!(name(&compute).as_deref(), Some("a"));
    let shared = host("b");
    compute.set_config(ComputeConfig::new(&shared));
    assert_eq!(name(&compute).as_deref(), Some("b"));
    compute.clear_config();
    assert_eq!(name(&compute), None);
}

#[test]
fn clones_share_and_new_values_do_not() {
    let (one, other) = (Compute::with_provider(Host::new("a")), Compute::new());
    one.clone().set_config(ComputeConfig::new(Arc::new(Host::new("b"))));
    assert_eq!(name(&one).as_deref(), Some("b"));
    assert_eq!(name(&other), None);
    // No other test of this crate touches the process-wide one.
    compute().set_config(ComputeConfig::new(Host::new("c")));
    assert_eq!(name(compute()).as_deref(), Some("c"));
    assert_eq!(name(&one).as_deref(), Some("b"));
}

#[tokio::test]
async fn without_a_default_every_call_says_so() {
    let sandboxes = Compute::new().sandbox();
    let errors: Vec<Error> = vec![
        sandboxes.create(()).await.unwrap_err(),
        sandboxes.get_by_id("x").await.unwrap_err(),
        sandboxes.list().await.unwrap_err(),
        sandboxes.find("x").await.unwrap_err(),
        sandboxes.destroy("x").await.unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::NoDefaultProvider);
        assert!(error.to_string().starts_with("No default provider configured."), "{error}");
        assert!(error.to_string().contains("compute.setConfig({ provider })"), "{error}");
    }
}

#[tokio::test]
async fn an_explicit_provider_needs_no_default_and_wins_over_one() {
    let (default, explicit) = (host("default"), host("explicit"));
    for compute in [Compute::new(), Compute::with_provider(&default)] {
        let sandboxes = compute.sandbox();
        let sandbox = sandboxes.create(CreateParams::with_provider(&explicit)).await.unwrap();
        assert_eq!(sandbox.provider(), "explicit");
        let id = sandbox.sandbox_id();
        assert!(sandboxes.get_by_id_with(&explicit, id).await.unwrap().is_some());
        assert!(sandboxes.get_by_id_with(&default, id).await.unwrap().is_none());
        assert_eq!(sandboxes.list_with(&explicit).await.unwrap().len(), 1);
        assert_eq!(sandboxes.list_with(&default).await.unwrap().len(), 0);
        sandboxes.destroy_with(&default, id).await.unwrap();
        assert_eq!(sandbox.get_info().await.unwrap().status, SandboxStatus::Running);
        sandboxes.destroy_with(&explicit, id).await.unwrap();
        assert_eq!(sandbox.get_info().await.unwrap().status, SandboxStatus::Stopped);
    }
}

#[tokio::test]
async fn an_empty_id_is_refused() {
    let provider = host("a");
    let sandboxes = Compute::with_provider(&provider).sandbox();
    for error in [
        sandboxes.get_by_id_with(&provider, "").await.unwrap_err(),
        sandboxes.destroy_with(&provider, "").await.unwrap_err(),
    ] {
        assert_eq!(error.to_string(), "sandboxId is required when provider is specified");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
    assert!(sandboxes.get_by_id("").await.is_err() && sandboxes.destroy("").await.is_err());
}

#[tokio::test]
async fn a_sandbox_is_found_listed_and_destroyed_twice() {
    let sandboxes = Compute::with_provider(Host::new("a")).sandbox();
    let sandbox = sandboxes.create(CreateParams::new().name("mine")).await.unwrap();
    let id = sandbox.sandbox_id();
    assert_eq!(sandboxes.get_by_id(id).await.unwrap().unwrap().sandbox_id(), id);
    assert_eq!(sandboxes.find("mine").await.unwrap().unwrap().sandbox_id(), id);
    assert_eq!(sandboxes.list().await.unwrap()[0].sandbox_id(), id);
    sandboxes.destroy(id).await.unwrap();
    sandboxes.destroy(id).await.unwrap();
    sandbox.destroy().await.unwrap();
    sandbox.kill().await.unwrap();
    sandboxes.destroy("never-was").await.unwrap();
    assert!(sandboxes.get_by_id("never-was").await.unwrap().is_none());
    assert!(sandboxes.list().await.unwrap().is_empty());
    assert_eq!(sandbox.run_command("true", ()).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn options_are_checked_before_the_provider_is_asked() {
    let sandboxes = Compute::with_provider(Host::new("a")).sandbox();
    let error = sandboxes.create(CreateParams::new().memory_bytes(1 << 20)).await.unwrap_err();
    assert_eq!((error.kind(), error.context_value("option")), (ErrorKind::Unsupported, Some("memory")));
    for (params, field) in [
        (CreateParams::new().env("A=B", "x"), "env"),
        (CreateParams::new().cwd("relative"), "cwd"),
        (CreateParams::new().file("relative", ""), "files.path"),
    ] {
        let error = sandboxes.create(params).await.unwrap_err();
        assert_eq!((error.kind(), error.context_value("field")), (ErrorKind::InvalidArgument, Some(field)));
    }
    assert!(sandboxes.list().await.unwrap().is_empty());
}

#[tokio::test]
async fn the_language_comes_from_the_sandbox_then_the_provider_then_the_code() {
    async fn language(provider: Host, options: CreateOptions, code: &str) -> Runtime {
        Compute::with_provider(provider).sandbox().create(options).await.unwrap().language(code).await.unwrap()
    }
    let python = Host::new("python");
    let node = Host::new("node").with_runtime(Runtime::Node);
    let none = CreateOptions::default();
    let mut as_python = CreateOptions::default();
    as_python.runtime = Some(Runtime::Python);
    assert_eq!(language(python.clone(), as_python.clone(), "console.log(1)").await, Runtime::Python);
    assert_eq!(language(node.clone(), as_python, "x = 1").await, Runtime::Python);
    assert_eq!(language(node.clone(), none.clone(), "x = 1").await, Runtime::Node);
    assert_eq!(language(python.clone(), none.clone(), "console.log(1)").await, Runtime::Node);
    assert_eq!(language(python.clone(), none.clone(), "x = 1").await, Runtime::Python);

    // A handle that was found by id knows what its provider reports.
    let sandboxes = Compute::with_provider(python).sandbox();
    let made = sandboxes.create(CreateParams::new().runtime(Runtime::Node)).await.unwrap();
    let found = sandboxes.get_by_id(made.sandbox_id()).await.unwrap().unwrap();
    assert_eq!(found.language("x = 1").await.unwrap(), Runtime::Node);
}

#[tokio::test]
async fn a_guard_destroys_on_drop_unless_disarmed() {
    let sandboxes = Compute::with_provider(Host::new("a")).sandbox();
    let kept = sandboxes.create(()).await.unwrap().into_guard().disarm();
    let sandbox = sandboxes.create(()).await.unwrap();
    let guard = sandbox.guard();
    assert_eq!(guard.sandbox_id(), sandbox.sandbox_id());
    drop(guard);
    sandbox.wait().await.unwrap();
    let guard = sandboxes.create(()).await.unwrap().into_guard();
    let destroyed = guard.clone();
    guard.destroy().await.unwrap();
    assert_eq!(destroyed.get_info().await.unwrap().status, SandboxStatus::Stopped);
    assert_eq!(kept.get_info().await.unwrap().status, SandboxStatus::Running);
    // A handle that is merely dropped ends nothing.
    let id = sandboxes.create(()).await.unwrap().sandbox_id().to_owned();
    let again = sandboxes.get_by_id(id).await.unwrap().unwrap();
    assert_eq!(again.get_info().await.unwrap().status, SandboxStatus::Running);
}
