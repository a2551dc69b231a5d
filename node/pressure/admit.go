package pressure

import (
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
)

// Refuse says why a pod may not begin on a node that is short of something, or "":
// what is critical may always, and under pressure on memory alone so may pods that
// request something or tolerate the taint
// (pkg/kubelet/eviction/eviction_manager.go of Kubernetes, Admit).
func Refuse(pod *v1.Pod, static, bestEffort bool, c Conditions) string {
	if c == (Conditions{}) || !Evictable(pod, static) {
		return ""
	}
	if c == (Conditions{Memory: true}) {
		tolerated := slices.ContainsFunc(pod.Spec.Tolerations, func(t v1.Toleration) bool {
			return (t.Key == "" && t.Operator == v1.TolerationOpExists || t.Key == v1.TaintNodeMemoryPressure) &&
				(t.Effect == "" || t.Effect == v1.TaintEffectNoSchedule)
		})
		if !bestEffort || tolerated {
			return ""
		}
	}
	var names []string
	for _, x := range []struct {
		on   bool
		name v1.NodeConditionType
	}{{c.Memory, v1.NodeMemoryPressure}, {c.Disk, v1.NodeDiskPressure}, {c.PID, v1.NodePIDPressure}} {
		if x.on {
			names = append(names, string(x.name))
		}
	}
	return "The node had condition: [" + strings.Join(names, " ") + "]. "
}
