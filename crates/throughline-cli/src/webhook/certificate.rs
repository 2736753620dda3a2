//! `throughline webhook certificate`: a certificate for the webhook, for clusters without
//! cert-manager and installations without Helm.

use std::io::Write as _;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use crate::args::webhook::CertificateArgs;
use crate::inject::render;

/// Validity. The command is run by hand, so it is long.
const VALIDITY: Duration = Duration::days(3650);

/// Tolerance for the clocks of other machines.
const CLOCK_SKEW: Duration = Duration::days(1);

/// Name of the webhook in its configuration, which the chart uses as well.
const WEBHOOK_NAME: &str = "inject.throughline.dev";

/// A certificate authority's certificate, and a certificate and key issued by it, in PEM.
struct IssuedCertificate {
    ca: String,
    certificate: String,
    key: String,
}

/// Prints the Secret, and the part of the webhook configuration with the certificate authority.
pub(super) fn print(args: &CertificateArgs) -> anyhow::Result<()> {
    let issued = issue(args, OffsetDateTime::now_utc()).context("cannot make a certificate")?;
    let mut out = std::io::stdout().lock();
    for object in [secret(args, &issued), configuration(args, &issued)] {
        let text = render(&object).map_err(anyhow::Error::msg)?;
        write!(out, "---\n{text}").context("cannot write to stdout")?;
    }
    out.flush().context("cannot write to stdout")
}

/// Issues a certificate. The key of the authority is not kept: the next certificate has another.
fn issue(args: &CertificateArgs, now: OffsetDateTime) -> Result<IssuedCertificate, rcgen::Error> {
    let host = format!("{}.{}.svc", args.service, args.namespace);
    let mut ca = CertificateParams::new(Vec::<String>::new())?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    ca.distinguished_name
        .push(DnType::CommonName, "throughline webhook CA");
    (ca.not_before, ca.not_after) = (now - CLOCK_SKEW, now + VALIDITY);
    let mut leaf = CertificateParams::new([host.clone(), format!("{host}.cluster.local")])?;
    leaf.distinguished_name.push(DnType::CommonName, &host);
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    (leaf.not_before, leaf.not_after) = (now - CLOCK_SKEW, now + VALIDITY);
    let (ca_key, key) = (KeyPair::generate()?, KeyPair::generate()?);
    let ca_certificate = ca.self_signed(&ca_key)?;
    let certificate = leaf.signed_by(&key, &Issuer::new(ca, ca_key))?;
    Ok(IssuedCertificate {
        ca: ca_certificate.pem(),
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    })
}

fn secret(args: &CertificateArgs, issued: &IssuedCertificate) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": args.secret, "namespace": args.namespace },
        "type": "kubernetes.io/tls",
        "data": {
            "ca.crt": BASE64.encode(&issued.ca),
            "tls.crt": BASE64.encode(&issued.certificate),
            "tls.key": BASE64.encode(&issued.key),
        },
    })
}

/// Returns the webhook configuration's fields that server-side apply merges by the webhook's name.
fn configuration(args: &CertificateArgs, issued: &IssuedCertificate) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": { "name": args.configuration },
        "webhooks": [{
            "name": WEBHOOK_NAME,
            "clientConfig": { "caBundle": BASE64.encode(&issued.ca) },
        }],
    })
}
