// Applies deploy/istio by Istio's own control-plane code and writes the configuration that Envoy
// would get, for `envoy --mode validate`. e2e/tests/istio.rs runs it.
package istio

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	"istio.io/istio/pilot/pkg/config/kube/crd"
	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/test/xds"
	"istio.io/istio/pkg/config/schema/collections"
)

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

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../deploy", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// services returns the Service documents of a manifest.
func services(text string) []string {
	var found []string
	for _, document := range strings.Split(text, "\n---\n") {
		if strings.Contains(document, "\nkind: Service\n") {
			// Istio's test server needs an address for a Service that is not headless.
			found = append(found, strings.Replace(document, "\nspec:\n", "\nspec:\n  # address\n", 1))
		}
	}
	return found
}

func slice(name, address, port, number string) string {
	values := strings.NewReplacer("NAME", name, "ADDRESS", address, "PORT", port, "NUMBER", number)
	return values.Replace(endpoints)
}

func TestEnvoyFilterReachesListeners(t *testing.T) {
	objects := services(read(t, "eshop/services.yaml"))
	if len(objects) != 6 {
		t.Fatalf("%d services", len(objects))
	}
	for index, object := range objects {
		address := "10.96.0." + string(rune('1'+index))
		objects[index] = strings.Replace(object, "  # address\n", "  clusterIP: "+address+"\n", 1)
	}
	objects = append(objects, services(read(t, "eshop/kafka.yaml"))...)
	objects = append(objects, slice("kafka", "10.0.0.9", "tcp-kafka", "9092"))
	objects = append(objects, slice("eshop", "10.0.0.1", "http", "8080"))

	configs := read(t, "istio/envoyfilter.yaml") + "\n---\n" + read(t, "istio/telemetry.yaml") +
		"\n---\n" + read(t, "eshop/istio/gateway.yaml")
	parsed, _, err := crd.ParseInputs(configs)
	if err != nil {
		t.Fatal(err)
	}
	for _, config := range parsed {
		schema, ok := collections.Pilot.FindByGroupVersionKind(config.GroupVersionKind)
		if !ok {
			t.Fatalf("unknown kind %v", config.GroupVersionKind)
		}
		// A misspelt key in `typed_config` is a warning here, and dropped silently elsewhere.
		warning, err := schema.ValidateConfig(config)
		if err != nil || warning != nil {
			t.Fatalf("%s: %v %v", config.Name, err, warning)
		}
	}

	server := xds.NewFakeDiscoveryServer(t, xds.FakeOptions{
		KubernetesObjectString: strings.Join(objects, "\n---\n"),
		ConfigString:           configs,
	})
	proxy := server.SetupProxy(&model.Proxy{
		Type:            model.SidecarProxy,
		IPAddresses:     []string{"10.0.0.1"},
		ConfigNamespace: "eshop",
		Labels:          map[string]string{"app": "eshop"},
		Metadata: &model.NodeMetadata{
			Namespace: "eshop",
			Labels:    map[string]string{"app": "eshop"},
		},
	})
	folder := os.Getenv("ISTIO_OUTPUT")
	if folder == "" {
		folder = t.TempDir()
	}
	var all strings.Builder
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var listeners []string
	for _, listener := range server.Listeners(proxy) {
		text, err := protojson.Marshal(listener)
		if err != nil {
			t.Fatal(err)
		}
		listeners = append(listeners, string(text))
		all.Write(text)
	}
	var clusters []string
	for _, cluster := range server.Clusters(proxy) {
		text, err := protojson.Marshal(cluster)
		if err != nil {
			t.Fatal(err)
		}
		clusters = append(clusters, string(text))
	}
	write("listeners.json", "["+strings.Join(listeners, ",")+"]")
	write("clusters.json", "["+strings.Join(clusters, ",")+"]")
	for _, part := range []string{
		"throughline_kafka", "early_header_mutation_name", "throughline_http", "inbound", "outbound",
	} {
		if !strings.Contains(all.String(), part) &&
			!strings.Contains(all.String(), "earlyHeaderMutationName") {
			t.Errorf("no %s in the listeners", part)
		}
	}
	count := strings.Count(all.String(), `"throughline_kafka"`)
	t.Logf("%d listeners, %d clusters, %d with the Kafka filter", len(listeners), len(clusters), count)
	if count == 0 {
		t.Error("no listener has the Kafka filter")
	}
}
