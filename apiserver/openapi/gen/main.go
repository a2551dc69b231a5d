// Command gen writes schemas.gz, the OpenAPI schemas of every Go type that the API
// may serve, and typed/types.gz, the same as server-side apply sees it: it runs kube-openapi's generator over the types in a directory of its
// own, runs what came out, and keeps the results as compressed files. Run it by
// "go generate ./apiserver/openapi" after a change of the Kubernetes libraries.
package main

import (
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
)

// others are packages besides k8s.io/api that served types come from or refer to.
var others = []string{
	"k8s.io/apimachinery/pkg/apis/meta/v1",
	"k8s.io/apimachinery/pkg/runtime",
	"k8s.io/apimachinery/pkg/util/intstr",
	"k8s.io/apimachinery/pkg/api/resource",
	"k8s.io/apimachinery/pkg/version",
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1",
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1beta1",
	"k8s.io/kube-aggregator/pkg/apis/apiregistration/v1",
	"k8s.io/kube-aggregator/pkg/apis/apiregistration/v1beta1",
}

func main() {
	log.SetFlags(0)
	if err := run(); err != nil {
		log.Fatal("gen: ", err)
	}
}

func run() error {
	const work = "gen/scratch" // inside the module, so that it builds with its libraries
	if err := os.MkdirAll(filepath.Join(work, "defs"), 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(work)
	header := filepath.Join(work, "header.txt")
	if err := os.WriteFile(header, nil, 0o644); err != nil {
		return err
	}
	packages, err := typePackages()
	if err != nil {
		return err
	}
	args := append([]string{"tool", "openapi-gen", "--go-header-file", header, "--output-dir", filepath.Join(work, "defs"),
		"--output-pkg", "skiff.dev/skiff/apiserver/openapi/" + work + "/defs", "--output-file", "defs.go", "--report-filename", filepath.Join(work, "report")}, packages...)
	if err := command(args...); err != nil {
		return err
	}
	program, err := os.ReadFile("gen/dump.go.txt")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(work, "main.go"), program, 0o644); err != nil {
		return err
	}
	return command("run", "./"+work, "schemas.gz", "typed/types.gz")
}

func command(args ...string) error {
	c := exec.Command("go", args...)
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	if err := c.Run(); err != nil {
		return fmt.Errorf("go %s: %w", args[0], err)
	}
	return nil
}

// typePackages lists the packages of k8s.io/api but for alpha versions and what is
// only sent to webhooks.
func typePackages() ([]string, error) {
	out, err := exec.Command("go", "list", "k8s.io/api/...").Output()
	if err != nil {
		return nil, err
	}
	var list []string
	for _, p := range strings.Fields(string(out)) {
		version := p[strings.LastIndex(p, "/")+1:]
		if !strings.HasPrefix(version, "v") || strings.Contains(version, "alpha") || strings.Contains(p, "imagepolicy") || strings.Contains(p, "apidiscovery") {
			continue
		}
		list = append(list, p)
	}
	sort.Strings(list)
	return append(list, others...), nil
}
