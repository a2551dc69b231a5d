package admit

import (
	"context"
	"errors"
	"fmt"
	"strings"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	resourcehelper "k8s.io/component-helpers/resource"

	"skiff.dev/skiff/apiserver/admission"
)

// PodResize refuses what a pod's node could never give, and nodes that cannot
// resize at all (plugin/pkg/admission/podresize in Kubernetes).
type PodResize struct{ reader }

// Name implements admission.Plugin.
func (*PodResize) Name() string { return "PodResizeValidator" }

// Validate implements admission.Validator.
func (p *PodResize) Validate(_ context.Context, r *admission.Request) error {
	pod, ok := r.Object.(*v1.Pod)
	old, wasPod := r.Old.(*v1.Pod)
	if !ok || !wasPod || r.Subresource != "resize" || r.Operation != admission.Update {
		return nil
	}
	if pod.Spec.NodeName == "" || pod.Generation == old.Generation {
		return nil
	}
	node, ok := find[*v1.Node](p, nodes, "", pod.Spec.NodeName)
	if !ok {
		return forbid(r, fmt.Errorf("node %q not found", pod.Spec.NodeName))
	}
	if os, ok := node.Labels[v1.LabelOSStable]; ok && os != "linux" {
		return withCause(forbid(r, fmt.Errorf("pod resize is only supported on linux nodes, node %q is %q", node.Name, os)), "UnsupportedPlatform")
	}
	if err := fits(pod, node.Status.Allocatable); err != nil {
		return withCause(forbid(r, err), "NodeCapacity")
	}
	return nil
}

// fits says what of a pod's requests is more than a whole node has.
func fits(pod *v1.Pod, allocatable v1.ResourceList) error {
	requests := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})
	var short []string
	if want, have := requests.Cpu(), allocatable.Cpu(); want.Cmp(*have) > 0 {
		short = append(short, fmt.Sprintf("cpu, requested: %d, allocatable: %d", want.MilliValue(), have.MilliValue()))
	}
	if want, have := requests.Memory(), allocatable.Memory(); want.Cmp(*have) > 0 {
		short = append(short, fmt.Sprintf("memory, requested: %d, allocatable: %d", want.Value(), have.Value()))
	}
	if len(short) == 0 {
		return nil
	}
	return errors.New("node didn't have enough allocatable resources: " + strings.Join(short, "; "))
}

// withCause adds a machine-readable reason to a refusal.
func withCause(err error, reason metav1.CauseType) error {
	var status *apierrors.StatusError
	if errors.As(err, &status) && status.ErrStatus.Details != nil {
		status.ErrStatus.Details.Causes = append(status.ErrStatus.Details.Causes, metav1.StatusCause{Type: reason})
	}
	return err
}
