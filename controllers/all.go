// Package controllers lists the reconcilers of the control plane. Each is one
// folder below, written against controller-runtime's interfaces, so that it would
// run unchanged against any Kubernetes. All is the one list of them.
package controllers

import (
	"context"
	"fmt"

	"skiff.dev/skiff/controllers/bootstraptoken"
	"skiff.dev/skiff/controllers/certificateapproving"
	"skiff.dev/skiff/controllers/certificatecleaner"
	"skiff.dev/skiff/controllers/certificatesigning"
	"skiff.dev/skiff/controllers/clusterroleaggregation"
	"skiff.dev/skiff/controllers/deployment"
	"skiff.dev/skiff/controllers/endpoints"
	"skiff.dev/skiff/controllers/endpointslice"
	"skiff.dev/skiff/controllers/endpointslicemirroring"
	"skiff.dev/skiff/controllers/garbagecollector"
	"skiff.dev/skiff/controllers/legacytoken"
	"skiff.dev/skiff/controllers/loop"
	"skiff.dev/skiff/controllers/namespace"
	"skiff.dev/skiff/controllers/nodeipam"
	"skiff.dev/skiff/controllers/nodelifecycle"
	"skiff.dev/skiff/controllers/persistentvolumebinder"
	"skiff.dev/skiff/controllers/podgc"
	"skiff.dev/skiff/controllers/policystatus"
	"skiff.dev/skiff/controllers/pvcprotection"
	"skiff.dev/skiff/controllers/pvprotection"
	"skiff.dev/skiff/controllers/replicaset"
	"skiff.dev/skiff/controllers/resourcequota"
	"skiff.dev/skiff/controllers/rootca"
	"skiff.dev/skiff/controllers/serviceaccount"
	"skiff.dev/skiff/controllers/serviceaccounttoken"
	"skiff.dev/skiff/controllers/tainteviction"
)

// Controller is one reconciler. Start subscribes it and returns; it works until ctx
// ends, after which Env.Wait returns.
type Controller struct {
	Name  string
	Start func(ctx context.Context, env *loop.Env) error
}

// All lists the controllers in the order of their start.
var All = []Controller{
	{"serviceaccount", serviceaccount.Start},
	{"rootca", rootca.Start},
	{"serviceaccounttoken", serviceaccounttoken.Start},
	{"legacytoken", legacytoken.Start},
	{"bootstraptoken", bootstraptoken.Start},
	{"nodeipam", nodeipam.Start},
	{"nodelifecycle", nodelifecycle.Start},
	{"tainteviction", tainteviction.Start},
	{"clusterroleaggregation", clusterroleaggregation.Start},
	{"certificateapproving", certificateapproving.Start},
	{"certificatesigning", certificatesigning.Start},
	{"certificatecleaner", certificatecleaner.Start},
	{"replicaset", replicaset.Start},
	{"deployment", deployment.Start},
	{"endpoints", endpoints.Start},
	{"endpointslice", endpointslice.Start},
	{"endpointslicemirroring", endpointslicemirroring.Start},
	{"namespace", namespace.Start},
	{"garbagecollector", garbagecollector.Start},
	{"podgc", podgc.Start},
	{"persistentvolumebinder", persistentvolumebinder.Start},
	{"pvcprotection", pvcprotection.Start},
	{"pvprotection", pvprotection.Start},
	{"policystatus", policystatus.Start},
	{"resourcequota", resourcequota.Start},
}

// Start starts all of them. The cache of env has to be started by the caller,
// before or after.
func Start(ctx context.Context, env *loop.Env) error {
	for _, c := range All {
		if err := c.Start(ctx, env); err != nil {
			return fmt.Errorf("start controller %s: %w", c.Name, err)
		}
	}
	return nil
}
