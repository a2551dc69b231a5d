package core

import (
	"fmt"
	"strconv"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/rules"
)

func podColumns() []metav1.TableColumnDefinition {
	spec, status := v1.PodSpec{}.SwaggerDoc(), v1.PodStatus{}.SwaggerDoc()
	return []metav1.TableColumnDefinition{
		rules.NameColumn(),
		rules.Column("Ready", "The aggregate readiness state of this pod for accepting traffic."),
		rules.Column("Status", "The aggregate status of the containers in this pod."),
		rules.Column("Restarts", "The number of times the containers in this pod have been restarted and when the last container in this pod has restarted."),
		rules.AgeColumn(),
		rules.Wide(rules.Column("IP", status["podIP"])),
		rules.Wide(rules.Column("Node", spec["nodeName"])),
		rules.Wide(rules.Column("Nominated Node", status["nominatedNodeName"])),
		rules.Wide(rules.Column("Readiness Gates", spec["readinessGates"])),
	}
}

func podCells(p *v1.Pod, now time.Time) []any {
	s := summarise(p)
	restarts := strconv.Itoa(s.restarts.count)
	if s.restarts.count != 0 && !s.restarts.last.IsZero() {
		restarts = fmt.Sprintf("%d (%s ago)", s.restarts.count, rules.Age(s.restarts.last, now))
	}
	return []any{
		p.Name, fmt.Sprintf("%d/%d", s.ready, s.total), s.reason, restarts, rules.Age(p.CreationTimestamp, now),
		rules.OrNone(podIP(p)), rules.OrNone(p.Spec.NodeName), rules.OrNone(p.Status.NominatedNodeName), readinessCell(p),
	}
}

func readinessCell(p *v1.Pod) string {
	if len(p.Spec.ReadinessGates) == 0 {
		return "<none>"
	}
	met := 0
	for _, gate := range p.Spec.ReadinessGates {
		if podCondition(p, gate.ConditionType) {
			met++
		}
	}
	return fmt.Sprintf("%d/%d", met, len(p.Spec.ReadinessGates))
}

// podCondition says whether the first condition of a type is true.
func podCondition(p *v1.Pod, kind v1.PodConditionType) bool {
	for i := range p.Status.Conditions {
		if c := &p.Status.Conditions[i]; c.Type == kind {
			return c.Status == v1.ConditionTrue
		}
	}
	return false
}

// restarts counts restarts and knows when the latest container ended.
type restarts struct {
	count int
	last  metav1.Time
}

func (r *restarts) add(c *v1.ContainerStatus) {
	r.count += int(c.RestartCount)
	if t := c.LastTerminationState.Terminated; t != nil && r.last.Before(&t.FinishedAt) {
		r.last = t.FinishedAt
	}
}

// podSummary is one line of kubectl get pods.
type podSummary struct {
	ready, total int
	reason       string
	restarts     restarts
}

// summarise follows printPod: what keeps a pod from running comes before its
// phase; init containers come before the others.
func summarise(p *v1.Pod) podSummary {
	s := podSummary{total: len(p.Spec.Containers), reason: rules.Or(p.Status.Reason, string(p.Status.Phase))}
	for i := range p.Status.Conditions {
		if c := &p.Status.Conditions[i]; c.Type == v1.PodScheduled && c.Reason == v1.PodReasonSchedulingGated {
			s.reason = v1.PodReasonSchedulingGated
		}
	}
	sidecars := map[string]bool{}
	for i := range p.Spec.InitContainers {
		if c := &p.Spec.InitContainers[i]; isSidecar(c) {
			sidecars[c.Name] = true
			s.total++
		}
	}
	initializing, ofSidecars := s.addInit(p, sidecars)
	if !initializing || podCondition(p, v1.PodInitialized) {
		s.restarts = ofSidecars
		s.addContainers(p)
	}
	if p.DeletionTimestamp != nil {
		switch {
		case p.Status.Reason == "NodeLost":
			s.reason = "Unknown"
		case p.Status.Phase != v1.PodFailed && p.Status.Phase != v1.PodSucceeded:
			s.reason = "Terminating"
		}
	}
	return s
}

// addInit looks at init containers up to the first that is not done; it tells
// whether there is one, and the restarts of the sidecars alone.
func (s *podSummary) addInit(p *v1.Pod, sidecars map[string]bool) (initializing bool, ofSidecars restarts) {
	for i := range p.Status.InitContainerStatuses {
		c := &p.Status.InitContainerStatuses[i]
		s.restarts.add(c)
		if sidecars[c.Name] {
			ofSidecars.add(c)
		}
		ended, waiting := c.State.Terminated, c.State.Waiting
		switch {
		case ended != nil && ended.ExitCode == 0:
			continue
		case sidecars[c.Name] && ptr.Deref(c.Started, false):
			if c.Ready {
				s.ready++
			}
			continue
		case ended != nil:
			s.reason = "Init:" + endReason(ended)
		case waiting != nil && waiting.Reason != "" && waiting.Reason != "PodInitializing":
			s.reason = "Init:" + waiting.Reason
		default:
			s.reason = fmt.Sprintf("Init:%d/%d", i, len(p.Spec.InitContainers))
		}
		return true, ofSidecars
	}
	return false, ofSidecars
}

func (s *podSummary) addContainers(p *v1.Pod) {
	running, failure := false, ""
	for i := len(p.Status.ContainerStatuses) - 1; i >= 0; i-- {
		c := &p.Status.ContainerStatuses[i]
		s.restarts.add(c)
		ended, waiting := c.State.Terminated, c.State.Waiting
		switch {
		case waiting != nil && waiting.Reason != "":
			s.reason = waiting.Reason
		case ended != nil:
			s.reason = endReason(ended)
			if ended.ExitCode != 0 {
				failure = s.reason
			}
		case c.Ready && c.State.Running != nil:
			running = true
			s.ready++
		}
	}
	if s.reason != "Completed" {
		return
	}
	switch {
	case running && podReady(p):
		s.reason = "Running"
	case failure != "":
		s.reason = failure
	case running:
		s.reason = "NotReady"
	}
}

func podReady(p *v1.Pod) bool {
	for i := range p.Status.Conditions {
		if c := &p.Status.Conditions[i]; c.Type == v1.PodReady && c.Status == v1.ConditionTrue {
			return true
		}
	}
	return false
}

func endReason(t *v1.ContainerStateTerminated) string {
	switch {
	case t.Reason != "":
		return t.Reason
	case t.Signal != 0:
		return fmt.Sprintf("Signal:%d", t.Signal)
	}
	return fmt.Sprintf("ExitCode:%d", t.ExitCode)
}

// isSidecar says whether an init container keeps running beside the others.
func isSidecar(c *v1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == v1.ContainerRestartPolicyAlways
}

// podConditions tell that a pod has come to its end.
func podConditions(obj kinds.Object) []metav1.TableRowCondition {
	p, _ := obj.(*v1.Pod)
	switch {
	case p == nil:
	case p.Status.Phase == v1.PodSucceeded:
		return []metav1.TableRowCondition{{Type: metav1.RowCompleted, Status: metav1.ConditionTrue, Reason: string(v1.PodSucceeded), Message: "The pod has completed successfully."}}
	case p.Status.Phase == v1.PodFailed:
		return []metav1.TableRowCondition{{Type: metav1.RowCompleted, Status: metav1.ConditionTrue, Reason: string(v1.PodFailed), Message: "The pod failed."}}
	}
	return nil
}
