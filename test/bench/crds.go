package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"skiff.dev/skiff/apiserver/custom/customtest"
	"skiff.dev/skiff/test/workload"
)

// crds is how many definitions are installed.
const crds = 500

// benchCRDs installs definitions in the shape of well-known operators' and says what
// memory the processes take for each: only installed, and with an object of each, whose
// schema is then compiled.
func benchCRDs(ctx context.Context, t *table, i *instance, idle time.Duration) error {
	c, err := workload.Client(i.kubeconfig(), "")
	if err != nil {
		return err
	}
	pids := i.pids()
	memory := func() (rss, pss int64, err error) {
		// What starting and installing left behind is given back meanwhile.
		if err := wait(ctx, idle); err != nil {
			return 0, 0, err
		}
		return workload.Memory(pids)
	}
	rss, pss, err := memory()
	if err != nil {
		return err
	}
	row := func(what string) error {
		r, p, err := memory()
		if err != nil {
			return err
		}
		t.row("memory a definition of 500, "+what+", RSS", float64(r-rss)/crds/1e6, 1, "MB", false)
		t.row("memory a definition of 500, "+what+", PSS", float64(p-pss)/crds/1e6, 1, "MB", false)
		return nil
	}
	rest := c.CoreV1().RESTClient()
	cpu, err := workload.CPUTime(pids)
	if err != nil {
		return err
	}
	bytes := 0
	for n := 1; n <= crds; n++ {
		body, err := json.Marshal(customtest.Definition(n))
		if err != nil {
			return err
		}
		bytes += len(body)
		err = rest.Post().AbsPath("/apis/apiextensions.k8s.io/v1/customresourcedefinitions").SetHeader("Content-Type", "application/json").Body(body).Do(ctx).Error()
		if err != nil {
			return fmt.Errorf("definition %d: %w", n, err)
		}
	}
	after, err := workload.CPUTime(pids)
	if err != nil {
		return err
	}
	t.row("a definition as JSON", float64(bytes)/crds/1e3, 0, "kB", false)
	t.row("install a definition, server CPU", workload.MS(after-cpu)/crds, 0, "ms", false)
	if err := row("installed"); err != nil {
		return err
	}
	for n := 1; n <= crds; n++ {
		d := customtest.Definition(n)
		body, err := json.Marshal(map[string]any{"apiVersion": d.Spec.Group + "/v1", "kind": d.Spec.Names.Kind,
			"metadata": map[string]any{"name": "a"}, "spec": map[string]any{}})
		if err != nil {
			return err
		}
		err = rest.Post().AbsPath("/apis", d.Spec.Group, "v1", "namespaces", "default", d.Spec.Names.Plural).
			SetHeader("Content-Type", "application/json").Body(body).Do(ctx).Error()
		if err != nil && !apierrors.IsInvalid(err) { // its schema was asked all the same
			return fmt.Errorf("object of definition %d: %w", n, err)
		}
	}
	return row("with an object of each")
}
