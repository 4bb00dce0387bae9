//! Writes `kubernetes/`: one file per object, and `kustomization.yaml`. Pure.
//!
//! A pod with persistent data is a StatefulSet, so that two pods never use the same data. Other
//! pods are Deployments.

use super::pods::{Pod, environment, pods, secret_file};
use super::{groups, image, yaml};
use crate::services::model::{Name, Service, Volume, Workload};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Returns the files by name.
pub(super) fn files(workload: &Workload, project: &Name) -> BTreeMap<String, Vec<u8>> {
    let mut objects = Vec::new();
    for pod in pods(workload) {
        objects.extend(of_pod(workload, &pod, project));
    }
    let persistent = workload.volumes.iter().filter(|volume| groups::is_persistent(volume));
    objects.extend(persistent.map(|volume| claim(volume, project)));
    for secret in &workload.secret_files {
        let name = secret_file(secret.name.as_str());
        objects.push(secret_object(&name, json!({"content": ""}), project));
    }
    let mut files: BTreeMap<String, Vec<u8>> = objects.into_iter().map(file).collect();
    let images = workload.services.iter().map(|service| {
        let tag = super::tag(project, service);
        let (name, tag) = tag.rsplit_once(':').expect("the tag contains a colon");
        json!({"name": name, "newName": name, "newTag": tag})
    });
    let kustomization = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        // The values in the secrets are placeholders. Applied, they would replace true ones.
        "resources": files.keys().filter(|name| !name.ends_with(".secret.yaml")).collect::<Vec<_>>(),
        "images": images.collect::<Vec<_>>(),
    });
    files.insert("kustomization.yaml".to_owned(), yaml::document(&kustomization).into_bytes());
    files
}

/// Returns the file of an object, named after the object and its kind.
fn file(object: Value) -> (String, Vec<u8>) {
    let object = without_empty_fields(object);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let kind = text(&object["kind"]).to_lowercase();
    (format!("{}.{kind}.yaml", text(&object["metadata"]["name"])), yaml::document(&object).into_bytes())
}

fn of_pod(workload: &Workload, pod: &Pod<'_>, project: &Name) -> Vec<Value> {
    let selector = json!({"app.kubernetes.io/name": pod.name, "app.kubernetes.io/part-of": project});
    let template =
        json!({"metadata": {"labels": labels(&pod.name, project)}, "spec": pod.spec(workload, project)});
    let mut spec = json!({"replicas": 1, "selector": {"matchLabels": selector}, "template": template});
    let mut objects = Vec::new();
    let is_stateful = !pod.claims(workload).is_empty();
    let kind = if is_stateful { "StatefulSet" } else { "Deployment" };
    if is_stateful {
        let name = service_name(&format!("{}--pods", pod.name));
        spec["serviceName"] = json!(name);
        let service = json!({"clusterIP": "None", "selector": selector});
        objects.push(object("v1", "Service", &name, project, json!({"spec": service})));
    }
    objects.push(object("apps/v1", kind, pod.name.as_str(), project, json!({"spec": spec})));
    for service in &pod.members {
        objects.extend(service_object(service, &selector, project));
        let name = environment(&service.name);
        let plain: Map<String, Value> =
            image::environment(service).map(|(name, value)| (name.to_owned(), json!(value))).collect();
        if !plain.is_empty() {
            objects.push(object("v1", "ConfigMap", &name, project, json!({"data": plain})));
        }
        let secrets: Map<String, Value> =
            service.secrets.iter().map(|name| (name.as_str().to_owned(), json!(""))).collect();
        if !secrets.is_empty() {
            objects.push(secret_object(&name, Value::Object(secrets), project));
        }
    }
    objects
}

/// Returns the Service object for a service's published ports.
fn service_object(service: &Service, selector: &Value, project: &Name) -> Option<Value> {
    let ports = groups::public_ports(service);
    let ports: Vec<Value> = ports
        .iter()
        .map(|&(number, protocol)| {
            let protocol = groups::protocol(protocol);
            json!({"name": format!("{protocol}-{number}"), "port": number, "protocol": protocol.to_uppercase()})
        })
        .collect();
    let name = service_name(service.name.as_str());
    let spec = json!({"spec": {"selector": selector, "ports": ports}});
    (!ports.is_empty()).then(|| object("v1", "Service", &name, project, spec))
}

/// Returns a claim for twice the current size, in whole GiB.
fn claim(volume: &Volume, project: &Name) -> Value {
    let gibibytes = volume.bytes.saturating_mul(2).div_ceil(1 << 30).max(1);
    let spec = json!({
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": format!("{gibibytes}Gi")}},
    });
    object("v1", "PersistentVolumeClaim", volume.name.as_str(), project, json!({"spec": spec}))
}

fn secret_object(name: &str, data: Value, project: &Name) -> Value {
    object("v1", "Secret", name, project, json!({"type": "Opaque", "stringData": data}))
}

fn object(version: &str, kind: &str, name: &str, project: &Name, mut rest: Value) -> Value {
    let labels =
        json!({"app.kubernetes.io/managed-by": "vm2docker-self", "app.kubernetes.io/part-of": project});
    rest["apiVersion"] = json!(version);
    rest["kind"] = json!(kind);
    rest["metadata"] = json!({"name": name, "labels": labels});
    rest
}

fn labels(name: &Name, project: &Name) -> Value {
    json!({
        "app.kubernetes.io/managed-by": "vm2docker-self",
        "app.kubernetes.io/name": name,
        "app.kubernetes.io/part-of": project,
    })
}

/// Returns the name of a Service object, which must begin with a letter (RFC 1035).
fn service_name(name: &str) -> String {
    let is_valid = name.starts_with(|first: char| first.is_ascii_alphabetic());
    if is_valid {
        name.to_owned()
    } else {
        format!("s--{}", name.chars().take(Name::MAX - 3).collect::<String>())
    }
}

/// Removes null fields and empty lists from `value`.
fn without_empty_fields(value: Value) -> Value {
    let is_empty = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().filter(|(_, value)| !is_empty(value));
            Value::Object(fields.map(|(key, value)| (key, without_empty_fields(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_empty_fields).collect()),
        scalar => scalar,
    }
}
