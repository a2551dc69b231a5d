package apiserver

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"skiff.dev/skiff/apiserver/flow"
	"skiff.dev/skiff/apiserver/gate"
	"skiff.dev/skiff/apiserver/objects"
	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/kinds"
)

// lasts tells whether a request may go on for as long as its client likes
// (server/filters, BasicLongRunningRequestCheck).
func (c *call) lasts() bool {
	in := &c.info
	switch {
	case in.Verb == "watch" || in.Verb == "proxy":
		return true
	case in.IsResource:
		return in.Sub != "" && slices.Contains(lasting, in.Sub)
	}
	return strings.HasPrefix(in.Path, "/debug/pprof/")
}

// Headers of what a request was sorted by, in the form of Go's header maps.
var (
	headerLevel  = http.CanonicalHeaderKey(flowcontrolv1.ResponseHeaderMatchedPriorityLevelConfigurationUID)
	headerSchema = http.CanonicalHeaderKey(flowcontrolv1.ResponseHeaderMatchedFlowSchemaUID)
)

// queueTime is how long a request waits for a seat: a quarter of the time that it
// has, at most a minute (server/filters, getRequestWaitContext).
func (c *call) queueTime() time.Duration {
	return min(c.time/4, time.Minute)
}

// enter waits until the request may be served; it answers 429 and returns false
// where it may not.
func (c *call) enter() bool {
	if c.lasts() && c.info.Verb != "watch" {
		return true
	}
	if c.s.gate == nil {
		return c.enterLimits()
	}
	in := &c.info
	r := flow.Request{User: c.user.Name, Groups: c.user.Groups, Verb: in.Verb, IsResource: in.IsResource, Path: in.Path,
		Group: in.Group, Resource: in.Resource, Sub: in.Sub, Namespace: in.Namespace}
	retry := c.s.gate.Enter(c.ctx(), &c.pass, &r, c, c.queueTime())
	h := c.w.Header()
	h[headerLevel], h[headerSchema] = c.pass.Headers()
	if retry == 0 {
		return true
	}
	c.tooMany(retry)
	return false
}

// enterLimits is enter without priority and fairness.
func (c *call) enterLimits() bool {
	if c.info.Verb == "watch" {
		return true
	}
	leave, ok := c.s.limits.Enter(c.writes())
	if !ok {
		// Masters may always do something about it.
		if slices.Contains(c.user.Groups, auth.GroupMasters) {
			return true
		}
		c.tooMany(1)
		return false
	}
	c.leaveLimits = leave
	return true
}

// writes tells whether a request is mutating as the limits take it.
func (c *call) writes() bool {
	switch c.info.Verb {
	case "get", "list", "watch":
		return false
	}
	return true
}

// leave gives back what enter took.
func (c *call) leave() {
	c.pass.Leave()
	if c.forget != nil {
		c.forget()
	}
	if c.leaveLimits != nil {
		c.leaveLimits()
	}
}

// tooMany refuses a request for now (server/filters, tooManyRequests).
func (c *call) tooMany(retry int64) {
	c.code = http.StatusTooManyRequests
	c.s.metrics.dropped(c)
	c.w.Header().Set("Retry-After", strconv.FormatInt(retry, 10))
	http.Error(c.w, "Too many requests, please try again later.", http.StatusTooManyRequests)
}

// Estimate implements gate.Estimator.
func (c *call) Estimate(most int) (flow.Work, int) {
	in := &c.info
	switch in.Verb {
	case "list", "watch":
		return c.estimateList(most), -1
	case "create", "update", "patch", "delete":
		if in.Resource == "serviceaccounts" && in.Sub == "token" {
			return flow.Work{Seats: 1}, -1
		}
		n := c.s.gate.Watches.Interested(gate.Watched{Group: in.Group, Resource: in.Resource, Namespace: in.Namespace, Name: in.Name})
		return flow.WriteWork(n, most), n
	}
	return flow.Work{Seats: 1}, -1
}

func (c *call) estimateList(most int) flow.Work {
	in := &c.info
	k, ok := c.s.kindOf(schema.GroupVersionResource{Group: in.Group, Version: in.Version, Resource: in.Resource})
	if !ok {
		return flow.Work{Seats: 1} // another server's, or nothing
	}
	kc := c.s.cache.Of(k)
	if kc == nil {
		return flow.Work{Seats: 1}
	}
	n := kc.Snapshot().Len()
	if n == 0 {
		return flow.Work{Seats: 1}
	}
	l := flow.List{Watch: in.Verb == "watch", One: in.Name != "", Objects: int64(n), Size: c.s.sizes.of(kc, n),
		ResourceVersion: c.query.Get("resourceVersion"), Match: c.query.Get("resourceVersionMatch"), Continue: c.query.Get("continue"),
		Selects:           c.query.Get("labelSelector") != "" || c.query.Get("fieldSelector") != "",
		SendInitialEvents: c.query.Get("sendInitialEvents") == "true"}
	if text := c.query.Get("limit"); text != "" {
		if limit, err := strconv.ParseInt(text, 10, 64); err == nil {
			l.Limit = limit
		}
	}
	return flow.ListWork(&l, most)
}

// registerWatch counts the watch among those that writes are told to, and lets
// others have its seats once it has begun.
func (c *call) registerWatch() {
	if c.s.gate == nil {
		return
	}
	in := &c.info
	// A node watches its own pods: of a write, one of many such watches is told
	// (watch_tracker's index).
	if _, node, ok := strings.Cut(in.FieldSelector, "spec.nodeName="); ok && in.Resource == "pods" && node != "" && node[0] != ',' {
		return
	}
	c.forget = c.s.gate.Watches.Add(gate.Watched{Group: in.Group, Resource: in.Resource, Namespace: in.Namespace, Name: in.Name})
}

// maintainFlow keeps the gate's configuration and its objects as they should be.
func (s *Server) maintainFlow(ctx context.Context) {
	defer close(s.flowDone)
	borrow := time.NewTicker(gate.BorrowEvery)
	defer borrow.Stop()
	keep := time.NewTicker(time.Minute)
	defer keep.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.gate.Changed():
			s.gate.Digest()
			s.tellSchemas(ctx)
		case <-borrow.C:
			s.gate.Borrow()
		case <-keep.C:
			s.keepFlow(ctx)
		}
	}
}

var flowKinds = []schema.GroupResource{
	{Group: flowcontrolv1.GroupName, Resource: "flowschemas"},
	{Group: flowcontrolv1.GroupName, Resource: "prioritylevelconfigurations"},
}

// keepFlow makes and corrects the objects that every cluster has. The log hears of
// what fails; the next minute tries again.
func (s *Server) keepFlow(ctx context.Context) {
	if err := s.cache.Fresh(ctx); err != nil {
		return // the server is closing
	}
	var all []kinds.Object
	reader := cacheReader{s}
	for _, gr := range flowKinds {
		reader.Each(gr, "", func(o kinds.Object) bool {
			all = append(all, o)
			return true
		})
	}
	have := func(want kinds.Object) kinds.Object {
		gr := flowKinds[0]
		if _, ok := want.(*flowcontrolv1.PriorityLevelConfiguration); ok {
			gr = flowKinds[1]
		}
		if o, ok := reader.Object(gr, "", want.GetName()); ok {
			return o
		}
		return nil
	}
	// None needs another: written at once, they share the store's commits.
	var group sync.WaitGroup
	for _, change := range gate.Maintain(have, all) {
		group.Go(func() {
			if err := s.changeFlow(ctx, change); err != nil && ctx.Err() == nil && !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) {
				s.tel.Log.Error("keep the objects of priority and fairness", "object", change.Object.GetName(), "err", err)
			}
		})
	}
	group.Wait()
}

func (s *Server) changeFlow(ctx context.Context, change gate.Change) error {
	gvks, _, err := s.opt.Scheme.ObjectKinds(change.Object)
	if err != nil {
		return err
	}
	k, ok := s.table.ByGVK(gvks[0])
	if !ok {
		return nil
	}
	r := &objects.Request{Kind: k, Name: change.Object.GetName(), User: systemUser, Agent: gate.Producer}
	switch {
	case change.Create:
		_, err = s.engine.Create(ctx, r, change.Object, nil)
	case change.Delete:
		uid, rv := change.Object.GetUID(), change.Object.GetResourceVersion()
		_, err = s.engine.Delete(ctx, r, &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid, ResourceVersion: &rv}})
	default:
		_, _, err = s.engine.Update(ctx, r, change.Object, nil)
	}
	return err
}

// tellSchemas writes the condition Dangling of the FlowSchemas where it has
// changed.
func (s *Server) tellSchemas(ctx context.Context) {
	k, ok := s.table.ByResource(flowKinds[0])
	if !ok {
		return
	}
	var group sync.WaitGroup
	for _, d := range s.gate.Statuses() {
		group.Go(func() { s.tellSchema(ctx, k, d) })
	}
	group.Wait()
}

func (s *Server) tellSchema(ctx context.Context, k *kinds.Kind, d gate.Dangling) {
	d.Condition.LastTransitionTime = metav1.NewTime(s.opt.Now()).Rfc3339Copy()
	patch, err := json.Marshal(map[string]any{
		"apiVersion": flowcontrolv1.SchemeGroupVersion.String(), "kind": "FlowSchema",
		"metadata": map[string]any{"name": d.Schema},
		"status":   map[string]any{"conditions": []flowcontrolv1.FlowSchemaCondition{d.Condition}},
	})
	if err == nil {
		yes := true
		r := &objects.Request{Kind: k, Name: d.Schema, Sub: "status", User: systemUser, Agent: gate.Consumer}
		_, _, err = s.engine.Patch(ctx, r, types.ApplyPatchType, patch, &metav1.PatchOptions{FieldManager: gate.Consumer, Force: &yes})
	}
	if err != nil && ctx.Err() == nil && !apierrors.IsNotFound(err) {
		s.tel.Log.Error("tell a flow schema whether its level exists", "flowSchema", d.Schema, "err", err)
	}
}

// makeGate makes what lets requests in.
func (s *Server) makeGate() error {
	o := &s.opt
	if total := o.MaxInflight + o.MaxMutating; !o.NoPriority && o.MaxInflight > 0 && o.MaxMutating > 0 {
		m, err := gate.NewMetrics(s.tel.Metrics)
		if err != nil {
			return err
		}
		s.gate = gate.New(total, m)
		return nil
	}
	s.limits = gate.NewLimits(max(o.MaxInflight, 0), max(o.MaxMutating, 0))
	return nil
}
