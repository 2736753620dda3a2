package istio

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	meshconfig "istio.io/api/mesh/v1alpha1"
	"istio.io/istio/operator/pkg/render"
	"istio.io/istio/pkg/config/mesh"
	"istio.io/istio/pkg/kube/inject"
)

// injector is Istio's own, as its chart configures it.
type injector struct {
	templates inject.Templates
	values    inject.ValuesConfig
	mesh      *meshconfig.MeshConfig
}

// newInjector renders Istio's chart with deploy/istio/mesh.yaml.
func newInjector(t *testing.T) injector {
	t.Helper()
	var values map[string]any
	unmarshal(t, read(t, "istio/mesh.yaml"), &values)
	operator, err := yaml.Marshal(map[string]any{
		"apiVersion": "install.istio.io/v1alpha1",
		"kind":       "IstioOperator",
		"spec":       map[string]any{"meshConfig": values["meshConfig"]},
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "operator.yaml")
	if err := os.WriteFile(file, operator, 0o644); err != nil {
		t.Fatal(err)
	}
	flags := []string{"profile=empty", "components.pilot.enabled=true"}
	sets, _, err := render.GenerateManifest([]string{file}, flags, false, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	var found injector
	for _, set := range sets {
		for _, object := range set.Manifests {
			data, _ := object.Object["data"].(map[string]any)
			switch object.GetKind() + "/" + object.GetName() {
			case "ConfigMap/istio-sidecar-injector":
				config, err := inject.UnmarshalConfig([]byte(data["config"].(string)))
				if err != nil {
					t.Fatal(err)
				}
				found.templates = config.Templates
				if found.values, err = inject.NewValuesConfig(data["values"].(string)); err != nil {
					t.Fatal(err)
				}
			case "ConfigMap/istio":
				text := data["mesh"].(string)
				if found.mesh, err = mesh.ApplyMeshConfig(text, mesh.DefaultMeshConfig()); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if found.templates == nil || found.mesh == nil {
		t.Fatal("Istio's chart has no configuration of the injector")
	}
	return found
}

// inject returns the pod of a deployment with Istio's proxy.
func (i injector) inject(t *testing.T, deployment *appsv1.Deployment) corev1.PodSpec {
	t.Helper()
	text, err := yaml.Marshal(deployment)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	warn := func(warning string) { t.Errorf("warning: %s", warning) }
	err = inject.IntoResourceFile(
		nil, i.templates, i.values, "", i.mesh, bytes.NewReader(text), &out, warn)
	if err != nil {
		t.Fatal(err)
	}
	var injected appsv1.Deployment
	unmarshal(t, out.String(), &injected)
	return injected.Spec.Template.Spec
}

// eshop returns the deployment of the eshop with the annotations for the module.
func eshop(t *testing.T, annotations map[string]string) *appsv1.Deployment {
	t.Helper()
	for _, document := range strings.Split(read(t, "eshop/services.yaml"), "\n---\n") {
		if !strings.Contains(document, "\nkind: Deployment\n") ||
			!strings.Contains(document, "\n  name: eshop\n") {
			continue
		}
		var deployment, patch appsv1.Deployment
		unmarshal(t, document, &deployment)
		unmarshal(t, read(t, "istio/annotations.yaml"), &patch)
		pod := &deployment.Spec.Template
		if pod.Annotations == nil {
			pod.Annotations = map[string]string{}
		}
		for _, added := range []map[string]string{patch.Spec.Template.Annotations, annotations} {
			for name, value := range added {
				pod.Annotations[name] = value
			}
		}
		return &deployment
	}
	t.Fatal("no deployment eshop")
	return nil
}

func unmarshal(t *testing.T, text string, into any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(text), into); err != nil {
		t.Fatal(err)
	}
}

func names(containers []corev1.Container) []string {
	var found []string
	for _, container := range containers {
		found = append(found, container.Name)
	}
	return found
}

// checkProxy checks that Envoy finds the module's file.
func checkProxy(t *testing.T, containers []corev1.Container) {
	t.Helper()
	index := slices.IndexFunc(containers, func(container corev1.Container) bool {
		return container.Name == "istio-proxy"
	})
	if index < 0 {
		t.Fatalf("no istio-proxy in %v", names(containers))
	}
	proxy := containers[index]
	isMounted := slices.ContainsFunc(proxy.VolumeMounts, func(mount corev1.VolumeMount) bool {
		return mount.Name == "throughline" && mount.MountPath == "/throughline" && mount.ReadOnly
	})
	path := corev1.EnvVar{Name: "ENVOY_DYNAMIC_MODULES_SEARCH_PATH", Value: "/throughline"}
	if !isMounted || !slices.Contains(proxy.Env, path) {
		t.Errorf("mounts %v, environment %v", proxy.VolumeMounts, proxy.Env)
	}
}

// With native sidecars the proxy starts before any init container but Istio's, so that the file
// has to be part of the pod's volumes.
func TestImageVolumeIsThereBeforeTheProxy(t *testing.T) {
	native := map[string]string{"sidecar.istio.io/nativeSidecar": "true"}
	deployment := eshop(t, native)
	init := corev1.Container{Name: "copies-too-late", Image: "busybox"}
	deployment.Spec.Template.Spec.InitContainers = []corev1.Container{init}
	pod := newInjector(t).inject(t, deployment)
	want := []string{"istio-init", "istio-proxy", "copies-too-late"}
	if got := names(pod.InitContainers); !slices.Equal(got, want) {
		t.Errorf("init containers %v", got)
	}
	if got := names(pod.Containers); !slices.Equal(got, []string{"eshop"}) {
		t.Errorf("containers %v", got)
	}
	checkProxy(t, pod.InitContainers)
	isImage := func(volume corev1.Volume) bool {
		return volume.Name == "throughline" && volume.Image != nil &&
			volume.Image.Reference == "throughline-envoy:0.1.0"
	}
	if !slices.ContainsFunc(pod.Volumes, isImage) {
		t.Errorf("volumes %v", pod.Volumes)
	}
}

// Without native sidecars an init container copies the file before the proxy starts.
func TestInitContainerCopiesBeforeTheProxy(t *testing.T) {
	deployment := eshop(t, map[string]string{
		"sidecar.istio.io/nativeSidecar": "false",
		"sidecar.istio.io/userVolume":    `{"throughline":{"emptyDir":{}}}`,
	})
	init := corev1.Container{Name: "copies", Image: "throughline-envoy:0.1.0"}
	deployment.Spec.Template.Spec.InitContainers = []corev1.Container{init}
	pod := newInjector(t).inject(t, deployment)
	want := []string{"copies", "istio-init"}
	if got := names(pod.InitContainers); !slices.Equal(got, want) {
		t.Errorf("init containers %v", got)
	}
	if got := names(pod.Containers); !slices.Equal(got, []string{"eshop", "istio-proxy"}) {
		t.Errorf("containers %v", got)
	}
	checkProxy(t, pod.Containers)
}
