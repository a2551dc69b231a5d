package main

import (
	"slices"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	o, err := parse([]string{"--kubeconfig", "f", "--pids", "1,2", "--work", "get,list", "--duration", "3s", "--server", "kube=g:3"})
	if err != nil {
		t.Fatal(err)
	}
	if len(o.servers) != 2 || o.servers[0].Name != "kube" || !slices.Equal(o.servers[1].PIDs, []int{1, 2}) ||
		!slices.Equal(o.works, []string{"get", "list"}) || o.Duration != 3*time.Second || o.Clients != 64 {
		t.Errorf("%+v", o)
	}
	for _, bad := range [][]string{{}, {"x"}, {"--kubeconfig", "f", "--work", "y"}, {"--kubeconfig", "f", "--pids", "a"}, {"--server", "f"}} {
		if _, err := parse(bad); err == nil {
			t.Errorf("%q gives no error", bad)
		}
	}
}
