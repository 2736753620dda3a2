// Kubernetes' API server with etcd in one program, and a client for manifests. There is no kubelet:
// objects are stored, checked and passed to admission webhooks, and nothing runs.
//
//	apiserver etcd DIR                    etcd on 127.0.0.1:2379, until it is killed
//	apiserver serve FLAGS...              kube-apiserver
//	apiserver apply KUBECONFIG FILE       applies manifests by server-side apply
//	apiserver dry-run KUBECONFIG FILE     the same without storing anything
//	apiserver get KUBECONFIG PATH         prints a resource
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"syscall"

	"go.etcd.io/etcd/server/v3/embed"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/component-base/cli"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 1 {
		return errors.New("usage: apiserver etcd|serve|apply|get ...")
	}
	switch {
	case args[0] == "etcd" && len(args) == 2:
		return etcd(args[1])
	case args[0] == "serve":
		command := app.NewAPIServerCommand()
		command.SetArgs(args[1:])
		os.Exit(cli.Run(command))
	case (args[0] == "apply" || args[0] == "dry-run") && len(args) == 3:
		return apply(args[1], args[2], args[0] == "dry-run")
	case args[0] == "get" && len(args) == 3:
		return get(args[1], args[2])
	}
	return fmt.Errorf("unknown command %q", args)
}

func etcd(folder string) error {
	config := embed.NewConfig()
	config.Dir = folder
	config.LogLevel = "error"
	listen, _ := url.Parse("http://127.0.0.1:2379")
	peers, _ := url.Parse("http://127.0.0.1:0")
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{*listen}, []url.URL{*listen}
	config.ListenPeerUrls = []url.URL{*peers}
	server, err := embed.StartEtcd(config)
	if err != nil {
		return err
	}
	defer server.Close()
	<-server.Server.ReadyNotify()
	fmt.Println("ready")
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	select {
	case <-stop:
		return nil
	case err := <-server.Err():
		return err
	}
}

func client(kubeconfig string) (*rest.Config, *discovery.DiscoveryClient, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, nil, err
	}
	found, err := discovery.NewDiscoveryClientForConfig(config)
	return config, found, err
}

func get(kubeconfig, path string) error {
	_, client, err := client(kubeconfig)
	if err != nil {
		return err
	}
	body, err := client.RESTClient().Get().AbsPath(path).DoRaw(context.Background())
	os.Stdout.Write(body)
	return err
}

// apply prints each object as the server stores it, one JSON document a line.
func apply(kubeconfig, file string, dryRun bool) error {
	config, found, err := client(kubeconfig)
	if err != nil {
		return err
	}
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(found))
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	options := metav1.PatchOptions{FieldManager: "throughline-test", FieldValidation: "Strict"}
	force := true
	options.Force = &force
	if dryRun {
		options.DryRun = []string{metav1.DryRunAll}
	}
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		var object unstructured.Unstructured
		if err := decoder.Decode(&object); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if len(object.Object) == 0 {
			continue
		}
		kind := object.GroupVersionKind()
		mapping, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
		if err != nil {
			return err
		}
		body, err := object.MarshalJSON()
		if err != nil {
			return err
		}
		var resource dynamic.ResourceInterface = objects.Resource(mapping.Resource)
		if namespace := object.GetNamespace(); namespace != "" {
			resource = objects.Resource(mapping.Resource).Namespace(namespace)
		}
		stored, err := resource.Patch(
			context.Background(), object.GetName(), types.ApplyPatchType, body, options)
		if err != nil {
			return fmt.Errorf("%s %s: %w", kind.Kind, object.GetName(), err)
		}
		line, err := stored.MarshalJSON()
		if err != nil {
			return err
		}
		// It ends with a line break.
		os.Stdout.Write(line)
	}
}
