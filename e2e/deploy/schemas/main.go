// Writes JSON schemas for kubeconform: one file for each kind of Kubernetes' API, Istio's API and
// the Prometheus operator, from the definitions that their Go modules carry. Istio's definitions
// themselves are in istio-definitions.yaml.
//
//	go run ./schemas FOLDER
//
// Unknown fields are forbidden: the API server drops them silently, and so a misspelt one is found.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

type object = map[string]any

const (
	kubernetes = "k8s.io/kubernetes@v1.37.2"
	istio      = "istio.io/api@v1.32.0"
	prometheus = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: schemas FOLDER")
	}
	folder := os.Args[1]
	must(os.MkdirAll(folder, 0o755))
	var swagger object
	must(json.Unmarshal(read(kubernetes, "api/openapi-spec/swagger.json"), &swagger))
	writeDefinitions(folder, swagger["definitions"].(object))
	resources := read(istio, "kubernetes/customresourcedefinitions.gen.yaml")
	writeResources(folder, resources)
	must(os.WriteFile(filepath.Join(folder, "istio-definitions.yaml"), resources, 0o644))
	for _, kind := range []string{"servicemonitors", "podmonitors"} {
		name := "example/prometheus-operator-crd/monitoring.coreos.com_" + kind + ".yaml"
		writeResources(folder, read(prometheus, name))
	}
}

// read returns a file of a module, which is fetched if it is missing.
func read(module, name string) []byte {
	command := exec.Command(goCommand(), "mod", "download", "-json", module)
	command.Stderr = os.Stderr
	output, err := command.Output()
	must(err)
	var found struct{ Dir string }
	must(json.Unmarshal(output, &found))
	text, err := os.ReadFile(filepath.Join(found.Dir, name))
	must(err)
	return text
}

// goCommand returns the Go that runs this program, which may not be on the PATH.
func goCommand() string {
	if command := os.Getenv("GO"); command != "" {
		return command
	}
	return "go"
}

// writeDefinitions writes the kinds of an OpenAPI 2 document.
func writeDefinitions(folder string, definitions object) {
	// Their forms in JSON are not those of the definitions.
	scalars := []any{object{"type": "string"}, object{"type": "number"}}
	definitions["io.k8s.apimachinery.pkg.api.resource.Quantity"] = object{"oneOf": scalars}
	definitions["io.k8s.apimachinery.pkg.util.intstr.IntOrString"] = object{"oneOf": scalars}
	for name, definition := range definitions {
		if !strings.Contains(name, "apiextensions") {
			closeObjects(definition)
		}
	}
	for name, definition := range definitions {
		kinds, _ := definition.(object)["x-kubernetes-group-version-kind"].([]any)
		for _, kind := range kinds {
			used := object{}
			collect(definitions, name, used)
			schema := object{"$ref": "#/definitions/" + name, "definitions": used}
			kind := kind.(object)
			write(folder, kind["group"].(string), kind["version"].(string), kind["kind"].(string), schema)
		}
	}
}

// collect adds a definition and those that it refers to.
func collect(definitions object, name string, used object) {
	if _, known := used[name]; known {
		return
	}
	used[name] = definitions[name]
	visitReferences(definitions[name], func(other string) { collect(definitions, other, used) })
}

func visitReferences(value any, visit func(string)) {
	switch value := value.(type) {
	case object:
		// A property may have this name; it is not text then.
		if reference, ok := value["$ref"].(string); ok {
			visit(strings.TrimPrefix(reference, "#/definitions/"))
		}
		for _, inner := range value {
			visitReferences(inner, visit)
		}
	case []any:
		for _, inner := range value {
			visitReferences(inner, visit)
		}
	}
}

// writeResources writes the kinds of custom resource definitions.
func writeResources(folder string, text []byte) {
	for _, document := range bytes.Split(text, []byte("\n---\n")) {
		var definition struct {
			Spec struct {
				Group    string
				Names    struct{ Kind string }
				Versions []struct {
					Name   string
					Schema struct{ OpenAPIV3Schema object }
				}
			}
		}
		must(yaml.Unmarshal(document, &definition))
		for _, version := range definition.Spec.Versions {
			schema := version.Schema.OpenAPIV3Schema
			properties := schema["properties"].(object)
			for _, name := range []string{"apiVersion", "kind"} {
				properties[name] = object{"type": "string"}
			}
			properties["metadata"] = object{"type": "object"}
			closeObjects(schema)
			write(folder, definition.Spec.Group, version.Name, definition.Spec.Names.Kind, schema)
		}
	}
}

// closeObjects forbids fields that a schema does not name, in it and in those of its fields.
func closeObjects(value any) {
	schema, ok := value.(object)
	if !ok || schema["x-kubernetes-preserve-unknown-fields"] == true {
		return
	}
	if properties, ok := schema["properties"].(object); ok {
		if _, open := schema["additionalProperties"]; !open && len(properties) > 0 {
			schema["additionalProperties"] = false
		}
		for _, property := range properties {
			closeObjects(property)
		}
	}
	closeObjects(schema["items"])
	closeObjects(schema["additionalProperties"])
}

func write(folder, group, version, kind string, schema object) {
	// kubeconform's {{.ResourceKind}}{{.KindSuffix}}.
	suffix := version
	if group != "" {
		suffix = strings.Split(group, ".")[0] + "-" + version
	}
	text, err := json.Marshal(schema)
	must(err)
	name := fmt.Sprintf("%s-%s.json", strings.ToLower(kind), suffix)
	must(os.WriteFile(filepath.Join(folder, name), text, 0o644))
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
