package admit

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"sort"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"

	"skiff.dev/skiff/apiserver/admission"
	"skiff.dev/skiff/kinds"
)

// PodSecurity holds pods against the security level that their namespace's labels
// ask for, and warns of controllers whose pods would not pass.
type PodSecurity struct {
	reader
	once      sync.Once
	evaluator policy.Evaluator
}

// NewPodSecurity makes the plugin. Its checks are built when first needed.
func NewPodSecurity() *PodSecurity { return &PodSecurity{} }

// Name implements admission.Plugin.
func (*PodSecurity) Name() string { return "PodSecurity" }

var privileged = api.Policy{
	Enforce: api.LevelVersion{Level: api.LevelPrivileged, Version: api.LatestVersion()},
	Audit:   api.LevelVersion{Level: api.LevelPrivileged, Version: api.LatestVersion()},
	Warn:    api.LevelVersion{Level: api.LevelPrivileged, Version: api.LatestVersion()},
}

// ignored are the subresources of pods that do not change what a pod may do.
var ignored = map[string]bool{"exec": true, "attach": true, "binding": true, "eviction": true, "log": true, "portforward": true, "proxy": true, "status": true}

// Validate implements admission.Validator.
func (s *PodSecurity) Validate(_ context.Context, r *admission.Request) error {
	if r.Operation != admission.Create && r.Operation != admission.Update {
		return nil
	}
	switch o := r.Object.(type) {
	case *v1.Namespace:
		if r.Subresource == "" {
			return s.namespace(r, o)
		}
	case *v1.Pod:
		if !ignored[r.Subresource] {
			return s.pod(r, o)
		}
	case nil:
	default:
		if meta, spec := template(o); spec != nil && r.Subresource == "" {
			s.controller(r, meta, spec)
		}
	}
	return nil
}

func (s *PodSecurity) policyOf(namespace string) (api.Policy, error) {
	ns, ok := find[*v1.Namespace](s, namespaces, "", namespace)
	if !ok {
		return privileged, nil // the namespace's own admission refuses this write
	}
	p, errs := api.PolicyToEvaluate(ns.Labels, privileged)
	return p, errs.ToAggregate()
}

func (s *PodSecurity) check(level api.LevelVersion, meta *metav1.ObjectMeta, spec *v1.PodSpec) policy.AggregateCheckResult {
	s.once.Do(func() {
		e, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
		if err != nil {
			panic(err) // the library's own checks contradict each other
		}
		s.evaluator = e
	})
	return policy.AggregateCheckResults(s.evaluator.EvaluatePod(level, meta, spec))
}

func (s *PodSecurity) pod(r *admission.Request, p *v1.Pod) error {
	want, err := s.policyOf(r.Namespace)
	if err == nil && want.FullyPrivileged() {
		return nil
	}
	if old, ok := r.Old.(*v1.Pod); ok && r.Operation == admission.Update && !significant(p, old) {
		return nil
	}
	if got := s.check(want.Enforce, &p.ObjectMeta, &p.Spec); !got.Allowed {
		return forbid(r, fmt.Errorf("violates PodSecurity %q: %s", want.Enforce.String(), got.ForbiddenDetail()))
	}
	s.warn(r, want.Warn, &p.ObjectMeta, &p.Spec)
	return nil
}

func (s *PodSecurity) warn(r *admission.Request, level api.LevelVersion, meta *metav1.ObjectMeta, spec *v1.PodSpec) {
	if got := s.check(level, meta, spec); !got.Allowed {
		r.Warn(fmt.Sprintf("would violate PodSecurity %q: %s", level.String(), got.ForbiddenDetail()))
	}
}

func (s *PodSecurity) controller(r *admission.Request, meta *metav1.ObjectMeta, spec *v1.PodSpec) {
	if want, _ := s.policyOf(r.Namespace); want.Warn.Level != api.LevelPrivileged {
		s.warn(r, want.Warn, meta, spec)
	}
}

// template is the pod that an object makes more of; nil for other kinds.
func template(o kinds.Object) (*metav1.ObjectMeta, *v1.PodSpec) {
	var t *v1.PodTemplateSpec
	switch o := o.(type) {
	case *v1.PodTemplate:
		t = &o.Template
	case *v1.ReplicationController:
		t = o.Spec.Template
	case *appsv1.ReplicaSet:
		t = &o.Spec.Template
	case *appsv1.Deployment:
		t = &o.Spec.Template
	case *appsv1.DaemonSet:
		t = &o.Spec.Template
	case *appsv1.StatefulSet:
		t = &o.Spec.Template
	case *batchv1.Job:
		t = &o.Spec.Template
	case *batchv1.CronJob:
		t = &o.Spec.JobTemplate.Spec.Template
	}
	if t == nil {
		return nil, nil
	}
	return &t.ObjectMeta, &t.Spec
}

// significant tells whether an update may change what a pod is allowed. What may
// change after creation, images and ephemeral containers, does.
func significant(p, old *v1.Pod) bool {
	return images(p.Spec.Containers, old.Spec.Containers) || images(p.Spec.InitContainers, old.Spec.InitContainers) ||
		slices.ContainsFunc(p.Spec.EphemeralContainers, func(c v1.EphemeralContainer) bool {
			i := slices.IndexFunc(old.Spec.EphemeralContainers, func(o v1.EphemeralContainer) bool { return o.Name == c.Name })
			return i < 0 || old.Spec.EphemeralContainers[i].Image != c.Image
		})
}

func images(a, b []v1.Container) bool {
	if len(a) != len(b) {
		return true
	}
	for i := range a {
		if a[i].Image != b[i].Image {
			return true
		}
	}
	return false
}

// namespace judges a namespace's labels, and warns of the pods that a stricter
// level would not let in again.
func (s *PodSecurity) namespace(r *admission.Request, ns *v1.Namespace) error {
	want, errs := api.PolicyToEvaluate(ns.Labels, privileged)
	old, ok := r.Old.(*v1.Namespace)
	if r.Operation == admission.Create || !ok {
		if len(errs) > 0 {
			return apierrors.NewInvalid(r.Kind.GVK().GroupKind(), ns.Name, errs)
		}
		return nil
	}
	had, oldErrs := api.PolicyToEvaluate(old.Labels, privileged)
	if len(errs) > 0 && !reflect.DeepEqual(errs, oldErrs) {
		return apierrors.NewInvalid(r.Kind.GVK().GroupKind(), ns.Name, errs)
	}
	if want.Enforce == had.Enforce || want.Enforce.Level == api.LevelPrivileged ||
		want.Enforce.Version == had.Enforce.Version && api.CompareLevels(want.Enforce.Level, had.Enforce.Level) < 1 {
		return nil
	}
	for _, w := range s.violations(ns.Name, want.Enforce) {
		r.Warn(w)
	}
	return nil
}

// maxPods is how many pods of a namespace are looked at for warnings.
const maxPods = 3000

func (s *PodSecurity) violations(namespace string, level api.LevelVersion) []string {
	count, first, seen := map[string]int{}, map[string]string{}, 0
	owners := map[string]bool{}
	s.Each(pods, namespace, func(o kinds.Object) bool {
		p, ok := o.(*v1.Pod)
		if !ok {
			return true
		}
		// Pods of one controller are alike: one stands for all.
		if c := metav1.GetControllerOf(p); c != nil {
			if owners[string(c.UID)] {
				return true
			}
			owners[string(c.UID)] = true
		}
		if seen++; seen > maxPods {
			return false
		}
		if got := s.check(level, &p.ObjectMeta, &p.Spec); !got.Allowed {
			w := got.ForbiddenReason()
			if count[w]++; first[w] == "" || p.Name < first[w] {
				first[w] = p.Name
			}
		}
		return true
	})
	if len(count) == 0 {
		return nil
	}
	var out []string
	for w, n := range count {
		switch n {
		case 1:
			out = append(out, fmt.Sprintf("%s: %s", first[w], w))
		case 2:
			out = append(out, fmt.Sprintf("%s (and 1 other pod): %s", first[w], w))
		default:
			out = append(out, fmt.Sprintf("%s (and %d other pods): %s", first[w], n-1, w))
		}
	}
	sort.Strings(out)
	head := fmt.Sprintf("existing pods in namespace %q violate the new PodSecurity enforce level %q", namespace, level.String())
	return append([]string{head}, out...)
}
