// Applies deploy/istio by Istio's own control-plane code and writes the configuration that Envoy
// would get, for `envoy --mode validate`. e2e/tests/istio runs it.
package istio

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"sigs.k8s.io/yaml"

	meshconfig "istio.io/api/mesh/v1alpha1"
	"istio.io/istio/pilot/pkg/config/kube/crd"
	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/test/xds"
	"istio.io/istio/pkg/config/mesh"
	"istio.io/istio/pkg/config/schema/collections"
)

// Istio makes a listener for a pod of a headless Service once it has an endpoint.
const endpoints = `
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: NAME-1
  namespace: eshop
  labels: { kubernetes.io/service-name: NAME }
addressType: IPv4
endpoints:
- addresses: [ADDRESS]
  hostname: NAME-0
  conditions: { ready: true }
ports:
- { name: PORT, port: NUMBER, protocol: TCP }
`

const generalWarning = "EnvoyFilter exposes internal implementation details"

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../deploy", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// services returns the Service documents of a manifest, with an address for those that are not
// headless.
func services(text string, firstAddress int) []string {
	var found []string
	for _, document := range strings.Split(text, "\n---\n") {
		if !strings.Contains("\n"+document, "\nkind: Service\n") {
			continue
		}
		if !strings.Contains(document, "clusterIP: None") {
			address := fmt.Sprintf("\nspec:\n  clusterIP: 10.96.0.%d\n", firstAddress+len(found))
			document = strings.Replace(document, "\nspec:\n", address, 1)
		}
		found = append(found, document)
	}
	return found
}

func slice(name, address, port, number string) string {
	values := strings.NewReplacer("NAME", name, "ADDRESS", address, "PORT", port, "NUMBER", number)
	return values.Replace(endpoints)
}

// meshOf returns the mesh with the values of deploy/istio/mesh.yaml.
func meshOf(t *testing.T) *meshconfig.MeshConfig {
	t.Helper()
	var values map[string]any
	unmarshal(t, read(t, "istio/mesh.yaml"), &values)
	text, err := yaml.Marshal(values["meshConfig"])
	if err != nil {
		t.Fatal(err)
	}
	found, err := mesh.ApplyMeshConfig(string(text), mesh.DefaultMeshConfig())
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// Registers a proxy of the namespace, as it would connect to the control plane.
func proxyOf(
	server *xds.FakeDiscoveryServer, kind model.NodeType, address, namespace string,
	labels map[string]string,
) *model.Proxy {
	return server.SetupProxy(&model.Proxy{
		Type:            kind,
		IPAddresses:     []string{address},
		ConfigNamespace: namespace,
		Labels:          labels,
		Metadata:        &model.NodeMetadata{Namespace: namespace, Labels: labels},
	})
}

// validate fails for a warning, too: Istio drops a misspelt key of `typed_config` and only warns.
func validate(configs string) error {
	parsed, _, err := crd.ParseInputs(configs)
	if err != nil {
		return err
	}
	for _, config := range parsed {
		schema, ok := collections.Pilot.FindByGroupVersionKind(config.GroupVersionKind)
		if !ok {
			return fmt.Errorf("unknown kind %v", config.GroupVersionKind)
		}
		warning, err := schema.ValidateConfig(config)
		if err != nil {
			return fmt.Errorf("%s: %w", config.Name, err)
		}
		// Every EnvoyFilter has the general one.
		if warning != nil && !strings.HasPrefix(warning.Error(), generalWarning) {
			return fmt.Errorf("%s: %w", config.Name, warning)
		}
	}
	return nil
}

// write writes messages as a JSON array for e2e/tests/istio.
func write[M proto.Message](t *testing.T, name string, messages []M) string {
	t.Helper()
	var texts []string
	for _, message := range messages {
		text, err := protojson.Marshal(message)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(text))
	}
	all := "[" + strings.Join(texts, ",") + "]"
	if folder := os.Getenv("ISTIO_OUTPUT"); folder != "" {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(all), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// compact returns messages as JSON without spaces: protojson puts some in at random.
func compact[M proto.Message](messages ...M) string {
	var text strings.Builder
	for _, message := range messages {
		text.WriteString(strings.ReplaceAll(protojson.MarshalOptions{}.Format(message), " ", ""))
	}
	return text.String()
}

func TestEnvoyFilterReachesListeners(t *testing.T) {
	filter := read(t, "istio/envoyfilter.yaml")
	configs := strings.Join([]string{
		filter, read(t, "istio/telemetry.yaml"), read(t, "eshop/istio/gateway.yaml"),
	}, "\n---\n")
	if err := validate(configs); err != nil {
		t.Fatal(err)
	}
	misspelt := strings.ReplaceAll(filter, "filter_name:", "filter_names:")
	if err := validate(misspelt); err == nil {
		t.Error("a misspelt key is not found")
	}

	objects := services(read(t, "eshop/services.yaml"), 1)
	if len(objects) != 6 {
		t.Fatalf("%d services", len(objects))
	}
	objects = append(objects, services(read(t, "manifests/throughline.yaml"), 20)...)
	objects = append(objects, services(read(t, "eshop/kafka.yaml"), 30)...)
	objects = append(objects, slice("kafka", "10.0.0.9", "tcp-kafka", "9092"))
	objects = append(objects, slice("eshop", "10.0.0.1", "http", "8080"))
	server := xds.NewFakeDiscoveryServer(t, xds.FakeOptions{
		KubernetesObjectString: strings.Join(objects, "\n---\n"),
		ConfigString:           configs,
		MeshConfig:             meshOf(t),
	})
	labels := map[string]string{"app": "eshop"}
	proxy := proxyOf(server, model.SidecarProxy, "10.0.0.1", "eshop", labels)
	clusters := server.Clusters(proxy)
	write(t, "clusters.json", clusters)
	found := server.Listeners(proxy)
	listeners := write(t, "listeners.json", found)
	t.Logf("%d listeners, %d clusters", len(found), len(clusters))
	kafka := 0
	for _, listener := range found {
		text := protojson.Format(listener)
		port := listener.GetAddress().GetSocketAddress().GetPortValue()
		has := strings.Contains(text, `"throughline_kafka"`)
		if has != (port == 9092) {
			t.Errorf("the listener %s has the Kafka filter: %v", listener.Name, has)
		}
		if has {
			kafka++
		}
	}
	if kafka == 0 {
		t.Error("no listener has the Kafka filter")
	}
	// The filters of HTTP, in both directions, and the tracer of Envoy with all requests.
	for _, part := range []string{
		`"direction":"inbound"`, `"direction":"outbound"`,
		`"early_header_mutation_name":"throughline_http"`,
		"OpenTelemetryConfig", "outbound|4317||throughline-collector.throughline.svc.cluster.local",
		`"randomSampling":{"value":100}`,
	} {
		// protojson puts spaces after colons at random.
		if !strings.Contains(strings.ReplaceAll(listeners, " ", ""), part) {
			t.Errorf("no %s in the listeners", part)
		}
	}
}
