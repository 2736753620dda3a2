package istio

import (
	"strings"
	"testing"

	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/test/xds"
)

// The gateway has one route, to the eshop, and its requests are traced from there on.
func TestGatewayRoutesCheckout(t *testing.T) {
	configs := read(t, "istio/telemetry.yaml") + "\n---\n" + read(t, "eshop/istio/gateway.yaml")
	objects := services(read(t, "eshop/services.yaml"), 1)
	objects = append(objects, services(read(t, "manifests/throughline.yaml"), 20)...)
	objects = append(objects, slice("eshop", "10.0.0.1", "http", "8080"))
	server := xds.NewFakeDiscoveryServer(t, xds.FakeOptions{
		KubernetesObjectString: strings.Join(objects, "\n---\n"),
		ConfigString:           configs,
		MeshConfig:             meshOf(t),
	})
	labels := map[string]string{"istio": "ingressgateway"}
	proxy := proxyOf(server, model.Router, "10.0.0.2", "istio-system", labels)
	listeners, routes := compact(server.Listeners(proxy)...), compact(server.Routes(proxy)...)
	for _, part := range []string{"OpenTelemetryConfig", `"randomSampling":{"value":100}`} {
		if !strings.Contains(listeners, part) {
			t.Errorf("no %s in the listeners:\n%s", part, listeners)
		}
	}
	cluster := `"outbound|8080||eshop.eshop.svc.cluster.local"`
	for _, part := range []string{`"match":{"prefix":"/checkout"`, `"route":{"cluster":` + cluster} {
		if !strings.Contains(routes, part) {
			t.Errorf("no %s in the routes:\n%s", part, routes)
		}
	}
	if count := strings.Count(routes, `"match":`); count != 1 {
		t.Errorf("%d routes:\n%s", count, routes)
	}
	if clusters := compact(server.Clusters(proxy)...); !strings.Contains(clusters, cluster) {
		t.Errorf("no cluster %s", cluster)
	}
}
