package node

import (
	"context"
	"time"

	v1 "k8s.io/api/core/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"k8s.io/apimachinery/pkg/types"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/node/podspec"
)

// watch opens the informers. It returns when the pods that exist now have been
// handed to their workers.
func (n *Node) watch(ctx context.Context) error {
	pods, err := n.o.Cache.GetInformer(ctx, &v1.Pod{})
	if err != nil {
		return err
	}
	reg, err := pods.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { n.podChanged(obj) },
		UpdateFunc: func(_, obj any) { n.podChanged(obj) },
		DeleteFunc: func(obj any) { n.podDeleted(obj) },
	})
	if err != nil {
		return err
	}
	for _, kind := range []client.Object{&v1.ConfigMap{}, &v1.Secret{}} {
		inf, err := n.o.Cache.GetInformer(ctx, kind)
		if err != nil {
			return err
		}
		if _, err := inf.AddEventHandler(toolscache.ResourceEventHandlerDetailedFuncs{
			AddFunc: func(obj any, initial bool) {
				if !initial {
					n.configChanged(obj)
				}
			},
			UpdateFunc: func(_, obj any) { n.configChanged(obj) },
		}); err != nil {
			return err
		}
	}
	// Service variables are read from this informer's cache.
	if _, err := n.o.Cache.GetInformer(ctx, &v1.Service{}); err != nil {
		return err
	}
	if !toolscache.WaitForCacheSync(ctx.Done(), reg.HasSynced) {
		return ctx.Err()
	}
	return nil
}

func (n *Node) podChanged(obj any) {
	pod, ok := obj.(*v1.Pod)
	if !ok || pod.Spec.NodeName != n.o.Name {
		return
	}
	if _, mirror := pod.Annotations[v1.MirrorPodAnnotationKey]; mirror {
		n.mirrorChanged(pod)
		return
	}
	n.take(pod, false)
}

// take brings a pod's state to its worker, which it makes for a new one.
func (n *Node) take(pod *v1.Pod, static bool) {
	n.mu.Lock()
	w := n.workers[pod.UID]
	if w != nil {
		n.mu.Unlock()
		w.update(pod)
		return
	}
	a := n.adoptable[pod.UID]
	terminal := pod.Status.Phase == v1.PodSucceeded || pod.Status.Phase == v1.PodFailed
	if a == nil && terminal && pod.DeletionTimestamp == nil {
		n.mu.Unlock()
		return // finished before we came; nothing of it is here
	}
	delete(n.adoptable, pod.UID)
	w = n.newWorker(pod)
	w.static = static
	n.workers[pod.UID] = w
	if a != nil && !terminal {
		n.active[pod.UID] = pod
	}
	n.mu.Unlock()
	if a != nil {
		if !terminal {
			n.classes.set(n, pod)
		}
		w.adopt(a)
	} else if terminal {
		w.obs.TornDown = true
	} else {
		// Here, so that pods are admitted in the order in which they come.
		w.mu.Lock()
		w.admit(time.Now())
		w.mu.Unlock()
	}
	w.kick()
}

func (n *Node) podDeleted(obj any) {
	if t, ok := obj.(toolscache.DeletedFinalStateUnknown); ok {
		obj = t.Obj
	}
	pod, ok := obj.(*v1.Pod)
	if !ok {
		return
	}
	if _, mirror := pod.Annotations[v1.MirrorPodAnnotationKey]; mirror {
		n.mirrorDeleted(pod)
		return
	}
	n.mu.Lock()
	w := n.workers[pod.UID]
	n.mu.Unlock()
	if w != nil {
		w.gone()
	}
}

// forget drops a worker whose pod, of that uid, is no more.
func (n *Node) forget(w *worker, uid types.UID) {
	n.mu.Lock()
	delete(n.active, uid)
	if n.workers[uid] == w {
		delete(n.workers, uid)
	}
	n.mu.Unlock()
	n.classes.drop(n, uid)
	w.stop()
}

func (n *Node) workerOf(c *engine.Container) *worker {
	uid := types.UID(c.Spec.Labels[podspec.LabelUID])
	if uid == "" {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.workers[uid]
}

// configChanged refreshes the volumes of pods that refer to a ConfigMap or Secret,
// and lets those that waited for it try again.
func (n *Node) configChanged(obj any) {
	o, ok := obj.(client.Object)
	if !ok {
		return
	}
	_, secret := obj.(*v1.Secret)
	for _, w := range n.allWorkers() {
		w.configChanged(o.GetNamespace(), o.GetName(), secret)
	}
}

func (w *worker) configChanged(namespace, name string, secret bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pod.Namespace != namespace || !refersTo(w.pod, name, secret) {
		return
	}
	again := false
	if !w.obs.SandboxReady && !w.obs.RetrySetup.IsZero() {
		w.obs.RetrySetup, again = w.firstAt, true
	}
	for _, c := range w.obs.Containers {
		if c.Waiting != nil && c.Waiting.Reason == reasonConfigError {
			c.NotBefore, again = w.firstAt, true
		}
	}
	if w.volumes != nil && !w.obs.TornDown {
		w.effect(w.refreshVolumes)
	} else if again {
		w.kickLocked()
	}
}

// refersTo: the pod's volumes or environment name the object.
func refersTo(pod *v1.Pod, name string, secret bool) bool {
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		switch {
		case secret && v.Secret != nil && v.Secret.SecretName == name,
			!secret && v.ConfigMap != nil && v.ConfigMap.Name == name:
			return true
		case v.Projected != nil:
			for _, s := range v.Projected.Sources {
				if secret && s.Secret != nil && s.Secret.Name == name || !secret && s.ConfigMap != nil && s.ConfigMap.Name == name {
					return true
				}
			}
		}
	}
	for _, list := range [][]v1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if envRefersTo(&list[i], name, secret) {
				return true
			}
		}
	}
	return false
}

func envRefersTo(c *v1.Container, name string, secret bool) bool {
	for _, e := range c.EnvFrom {
		if secret && e.SecretRef != nil && e.SecretRef.Name == name || !secret && e.ConfigMapRef != nil && e.ConfigMapRef.Name == name {
			return true
		}
	}
	for _, e := range c.Env {
		if e.ValueFrom == nil {
			continue
		}
		if secret && e.ValueFrom.SecretKeyRef != nil && e.ValueFrom.SecretKeyRef.Name == name ||
			!secret && e.ValueFrom.ConfigMapKeyRef != nil && e.ValueFrom.ConfigMapKeyRef.Name == name {
			return true
		}
	}
	return false
}

// adoption is what the engine has of one pod from before this process.
type adoption struct {
	sandboxes  []*engine.Sandbox
	containers []*engine.Container
}

// findAdoptable asks the engine once what exists.
func (n *Node) findAdoptable(ctx context.Context) error {
	sandboxes, err := n.o.Engine.Sandboxes(ctx)
	if err != nil {
		return err
	}
	containers, err := n.o.Engine.List(ctx, nil)
	if err != nil {
		return err
	}
	get := func(labels map[string]string) *adoption {
		uid := types.UID(labels[podspec.LabelUID])
		if uid == "" {
			return nil
		}
		a := n.adoptable[uid]
		if a == nil {
			a = &adoption{}
			n.adoptable[uid] = a
		}
		return a
	}
	for _, s := range sandboxes {
		if a := get(s.Spec.Labels); a != nil {
			a.sandboxes = append(a.sandboxes, s)
		}
	}
	for _, c := range containers {
		if a := get(c.Spec.Labels); a != nil {
			a.containers = append(a.containers, c)
		}
	}
	return nil
}

// dropOrphans ends what runs for pods that the API does not have any more.
func (n *Node) dropOrphans() {
	n.mu.Lock()
	orphans := n.adoptable
	n.adoptable = map[types.UID]*adoption{}
	n.mu.Unlock()
	for uid, a := range orphans {
		pod := a.pod(uid)
		pod.Spec.NodeName = n.o.Name
		w := n.newWorker(pod)
		w.obs.Gone = true
		n.mu.Lock()
		n.workers[uid] = w
		n.mu.Unlock()
		w.adopt(a)
		w.kick()
	}
}
