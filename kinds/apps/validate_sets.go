package apps

import (
	"encoding/json"
	"fmt"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds/core"
	"skiff.dev/skiff/kinds/row"
	"skiff.dev/skiff/kinds/rules"
)

func templateGeneration(d *appsv1.DaemonSet) int64 {
	n, _ := strconv.ParseInt(d.Annotations[appsv1.DeprecatedTemplateGeneration], 10, 64)
	return n
}

func setTemplateGeneration(d *appsv1.DaemonSet, n int64) {
	annotations := make(map[string]string, len(d.Annotations)+1)
	for k, v := range d.Annotations {
		annotations[k] = v
	}
	annotations[appsv1.DeprecatedTemplateGeneration] = strconv.FormatInt(n, 10)
	d.Annotations = annotations
}

func validateDaemonSet(d *appsv1.DaemonSet) field.ErrorList {
	return validateDaemonSetSpec(d, nil, metavalidation.LabelSelectorValidationOptions{})
}

func validateDaemonSetSpec(d *appsv1.DaemonSet, old *corev1.PodTemplateSpec, opts metavalidation.LabelSelectorValidationOptions) field.ErrorList {
	path, spec := field.NewPath("spec"), &d.Spec
	errs := metavalidation.ValidateLabelSelector(spec.Selector, opts, path.Child("selector"))
	if selector, err := metav1.LabelSelectorAsSelector(spec.Selector); err == nil && !selector.Matches(labels.Set(spec.Template.Labels)) {
		errs = append(errs, field.Invalid(path.Child("template", "metadata", "labels"), spec.Template.Labels, "`selector` does not match template `labels`"))
	}
	if s := spec.Selector; s != nil && len(s.MatchLabels)+len(s.MatchExpressions) == 0 {
		errs = append(errs, field.Invalid(path.Child("selector"), s, "empty selector is invalid for daemonset"))
	}
	errs = append(errs, validateTemplate(&spec.Template, old, path.Child("template"))...)
	errs = append(errs, alwaysRunning(&spec.Template, "DaemonSet", path.Child("template"))...)
	errs = append(errs, nonNegative(spec.MinReadySeconds, path.Child("minReadySeconds"))...)
	errs = append(errs, nonNegative(templateGeneration(d), path.Child("templateGeneration"))...)
	errs = append(errs, validateDaemonStrategy(&spec.UpdateStrategy, path.Child("updateStrategy"))...)
	return append(errs, nonNegativePtr(spec.RevisionHistoryLimit, path.Child("revisionHistoryLimit"))...)
}

func validateDaemonSetUpdate(d, old *appsv1.DaemonSet) field.ErrorList {
	errs := apivalidation.ValidateImmutableField(d.Spec.Selector, old.Spec.Selector, field.NewPath("spec", "selector"))
	opts := metavalidation.LabelSelectorValidationOptions{
		AllowInvalidLabelValueInSelector: metavalidation.LabelSelectorHasInvalidLabelValue(old.Spec.Selector),
	}
	return append(errs, validateDaemonSetSpec(d, &old.Spec.Template, opts)...)
}

func validateDaemonSetStatusUpdate(d, old *appsv1.DaemonSet) field.ErrorList {
	path, s := field.NewPath("status"), &d.Status
	errs := nonNegative(s.CurrentNumberScheduled, path.Child("currentNumberScheduled"))
	errs = append(errs, nonNegative(s.NumberMisscheduled, path.Child("numberMisscheduled"))...)
	errs = append(errs, nonNegative(s.DesiredNumberScheduled, path.Child("desiredNumberScheduled"))...)
	errs = append(errs, nonNegative(s.NumberReady, path.Child("numberReady"))...)
	errs = append(errs, nonNegative(s.ObservedGeneration, path.Child("observedGeneration"))...)
	errs = append(errs, nonNegative(s.UpdatedNumberScheduled, path.Child("updatedNumberScheduled"))...)
	errs = append(errs, nonNegative(s.NumberAvailable, path.Child("numberAvailable"))...)
	errs = append(errs, nonNegative(s.NumberUnavailable, path.Child("numberUnavailable"))...)
	errs = append(errs, nonNegativePtr(s.CollisionCount, path.Child("collisionCount"))...)
	return append(errs, notDecremented(s.CollisionCount, old.Status.CollisionCount, path.Child("collisionCount"))...)
}

func validateDaemonStrategy(s *appsv1.DaemonSetUpdateStrategy, path *field.Path) field.ErrorList {
	switch s.Type {
	case appsv1.OnDeleteDaemonSetStrategyType:
		return nil
	case appsv1.RollingUpdateDaemonSetStrategyType:
		if s.RollingUpdate == nil {
			return field.ErrorList{field.Required(path.Child("rollingUpdate"), "")}
		}
		return validateDaemonRolling(s.RollingUpdate, path.Child("rollingUpdate"))
	}
	return field.ErrorList{field.NotSupported(path, rules.Internal(*s), []string{
		string(appsv1.RollingUpdateDaemonSetStrategyType), string(appsv1.OnDeleteDaemonSetStrategyType)})}
}

func validateDaemonRolling(r *appsv1.RollingUpdateDaemonSet, path *field.Path) field.ErrorList {
	unavailable, surge := orZero(r.MaxUnavailable), orZero(r.MaxSurge)
	errs := countOrPercent(unavailable, path.Child("maxUnavailable"))
	errs = append(errs, countOrPercent(surge, path.Child("maxSurge"))...)
	errs = append(errs, atMostAll(unavailable, path.Child("maxUnavailable"))...)
	errs = append(errs, atMostAll(surge, path.Child("maxSurge"))...)
	switch {
	case amount(unavailable) != 0 && amount(surge) != 0:
		errs = append(errs, field.Invalid(path.Child("maxSurge"), surge, "may not be set when maxUnavailable is non-zero"))
	case amount(unavailable) == 0 && amount(surge) == 0:
		errs = append(errs, field.Required(path.Child("maxUnavailable"), "cannot be 0 when maxSurge is 0"))
	}
	return errs
}

// statefulOptions say what an update tolerates because it cannot be changed.
type statefulOptions struct {
	anyServiceName, anyClaims, anyTemplate bool

	old *corev1.PodTemplateSpec // the template before
}

func validateStatefulSet(s *appsv1.StatefulSet) field.ErrorList {
	return validateStatefulSpec(&s.Spec, field.NewPath("spec"), statefulOptions{})
}

func validateStatefulSpec(spec *appsv1.StatefulSetSpec, path *field.Path, opts statefulOptions) field.ErrorList {
	var errs field.ErrorList
	switch spec.PodManagementPolicy {
	case "":
		errs = append(errs, field.Required(path.Child("podManagementPolicy"), ""))
	case appsv1.OrderedReadyPodManagement, appsv1.ParallelPodManagement:
	default:
		errs = append(errs, field.Invalid(path.Child("podManagementPolicy"), spec.PodManagementPolicy, "must be 'OrderedReady' or 'Parallel'"))
	}
	errs = append(errs, validateStatefulStrategy(&spec.UpdateStrategy, path.Child("updateStrategy"))...)
	errs = append(errs, validateRetention(spec.PersistentVolumeClaimRetentionPolicy, path.Child("persistentVolumeClaimRetentionPolicy"))...)
	if !opts.anyClaims {
		for i := range spec.VolumeClaimTemplates {
			errs = append(errs, validateClaim(&spec.VolumeClaimTemplates[i], path.Child("volumeClaimTemplates").Index(i).Child("spec"))...)
		}
	}
	errs = append(errs, nonNegativePtr(spec.Replicas, path.Child("replicas"))...)
	errs = append(errs, nonNegative(spec.MinReadySeconds, path.Child("minReadySeconds"))...)
	if spec.Ordinals != nil {
		errs = append(errs, nonNegative(spec.Ordinals.Start, path.Child("ordinals.start"))...)
	}
	if !opts.anyServiceName && spec.ServiceName != "" {
		for _, msg := range utilvalidation.IsDNS1123Label(spec.ServiceName) {
			errs = append(errs, field.Invalid(path.Child("serviceName"), spec.ServiceName, msg))
		}
	}
	errs = append(errs, requireSelector(spec.Selector, "statefulset", path.Child("selector"))...)
	if selector, err := metav1.LabelSelectorAsSelector(spec.Selector); err != nil {
		errs = append(errs, field.Invalid(path.Child("selector"), spec.Selector, ""))
	} else {
		errs = append(errs, matchTemplate(selector, &spec.Template, path.Child("template"))...)
		if !opts.anyTemplate {
			errs = append(errs, validateTemplate(statefulTemplate(spec), opts.old, path.Child("template"))...)
		}
		errs = append(errs, core.ValidatePodTemplateMeta(&spec.Template, opts.old, path.Child("template"))...)
	}
	return append(errs, alwaysRunning(&spec.Template, "StatefulSet", path.Child("template"))...)
}

// statefulTemplate is the template as it will be when the controller has given
// pods their names and claims.
func statefulTemplate(spec *appsv1.StatefulSetSpec) *corev1.PodTemplateSpec {
	t := &spec.Template
	if t.Spec.Subdomain == "" && t.Spec.Hostname == "" && len(spec.VolumeClaimTemplates) == 0 {
		return t
	}
	t = t.DeepCopy()
	t.Spec.Subdomain, t.Spec.Hostname = "", ""
	claimed := map[string]bool{}
	var volumes []corev1.Volume
	for _, c := range spec.VolumeClaimTemplates {
		if claimed[c.Name] {
			continue
		}
		claimed[c.Name] = true
		volumes = append(volumes, corev1.Volume{Name: c.Name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: c.Name}}})
	}
	for _, v := range t.Spec.Volumes {
		if !claimed[v.Name] {
			volumes = append(volumes, v)
		}
	}
	t.Spec.Volumes = volumes
	return t
}

func validateStatefulStrategy(s *appsv1.StatefulSetUpdateStrategy, path *field.Path) field.ErrorList {
	switch s.Type {
	case "":
		return field.ErrorList{field.Required(path, "")}
	case appsv1.OnDeleteStatefulSetStrategyType:
		if s.RollingUpdate != nil {
			return field.ErrorList{field.Invalid(path.Child("rollingUpdate"), rules.Internal(*s.RollingUpdate), "only allowed for updateStrategy 'RollingUpdate'")}
		}
		return nil
	case appsv1.RollingUpdateStatefulSetStrategyType:
		if s.RollingUpdate == nil {
			return nil
		}
		path = path.Child("rollingUpdate")
		errs := nonNegativePtr(s.RollingUpdate.Partition, path.Child("partition"))
		if v := s.RollingUpdate.MaxUnavailable; v != nil {
			errs = append(errs, countOrPercent(*v, path.Child("maxUnavailable"))...)
			if amount(*v) == 0 {
				errs = append(errs, field.Invalid(path.Child("maxUnavailable"), *v, "cannot be 0"))
			}
			errs = append(errs, atMostAll(*v, path.Child("maxUnavailable"))...)
		}
		return errs
	}
	return field.ErrorList{field.Invalid(path, rules.Internal(*s), "must be 'RollingUpdate' or 'OnDelete'")}
}

func validateRetention(p *appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy, path *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	return append(oneRetention(p.WhenDeleted, path.Child("whenDeleted")), oneRetention(p.WhenScaled, path.Child("whenScaled"))...)
}

func oneRetention(p appsv1.PersistentVolumeClaimRetentionPolicyType, path *field.Path) field.ErrorList {
	switch p {
	case appsv1.RetainPersistentVolumeClaimRetentionPolicyType, appsv1.DeletePersistentVolumeClaimRetentionPolicyType:
		return nil
	}
	return field.ErrorList{field.NotSupported(path, p, []string{
		string(appsv1.RetainPersistentVolumeClaimRetentionPolicyType), string(appsv1.DeletePersistentVolumeClaimRetentionPolicyType)})}
}

func validateStatefulSetUpdate(s, old *appsv1.StatefulSet) field.ErrorList {
	opts := statefulOptions{anyServiceName: true, anyClaims: true, old: &old.Spec.Template}
	// An old template that would not be accepted today may stay.
	opts.anyTemplate = len(validateStatefulSpec(&old.Spec, nil, opts)) > 0
	errs := validateStatefulSpec(&s.Spec, field.NewPath("spec"), opts)
	same := s.Spec
	same.Replicas, same.Template, same.UpdateStrategy = old.Spec.Replicas, old.Spec.Template, old.Spec.UpdateStrategy
	same.MinReadySeconds, same.Ordinals, same.RevisionHistoryLimit = old.Spec.MinReadySeconds, old.Spec.Ordinals, old.Spec.RevisionHistoryLimit
	same.PersistentVolumeClaimRetentionPolicy = old.Spec.PersistentVolumeClaimRetentionPolicy
	if !row.Same(same, old.Spec) {
		errs = append(errs, field.Forbidden(field.NewPath("spec"), "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"))
	}
	return errs
}

func validateStatefulSetStatusUpdate(s, old *appsv1.StatefulSet) field.ErrorList {
	path, st := field.NewPath("status"), &s.Status
	errs := nonNegative(st.Replicas, path.Child("replicas"))
	errs = append(errs, nonNegative(st.ReadyReplicas, path.Child("readyReplicas"))...)
	errs = append(errs, nonNegative(st.CurrentReplicas, path.Child("currentReplicas"))...)
	errs = append(errs, nonNegative(st.UpdatedReplicas, path.Child("updatedReplicas"))...)
	errs = append(errs, nonNegative(st.AvailableReplicas, path.Child("availableReplicas"))...)
	errs = append(errs, nonNegative(st.ObservedGeneration, path.Child("observedGeneration"))...)
	errs = append(errs, nonNegativePtr(st.CollisionCount, path.Child("collisionCount"))...)
	errs = append(errs, atMost(st.ReadyReplicas, st.Replicas, "status.replicas", path.Child("readyReplicas"))...)
	errs = append(errs, atMost(st.CurrentReplicas, st.Replicas, "status.replicas", path.Child("currentReplicas"))...)
	errs = append(errs, atMost(st.UpdatedReplicas, st.Replicas, "status.replicas", path.Child("updatedReplicas"))...)
	errs = append(errs, atMost(st.AvailableReplicas, st.Replicas, "status.replicas", path.Child("availableReplicas"))...)
	errs = append(errs, atMost(st.AvailableReplicas, st.ReadyReplicas, "status.readyReplicas", path.Child("availableReplicas"))...)
	return append(errs, notDecremented(st.CollisionCount, old.Status.CollisionCount, path.Child("collisionCount"))...)
}

func validateControllerRevision(r *appsv1.ControllerRevision) field.ErrorList {
	errs := nonNegative(r.Revision, field.NewPath("revision"))
	path := field.NewPath("data")
	if r.Data.Raw == nil {
		return append(errs, field.Required(path, "data is mandatory"))
	}
	var v any
	if err := json.Unmarshal(r.Data.Raw, &v); err != nil {
		return append(errs, field.Invalid(path, "<value omitted>", fmt.Sprintf("error parsing data: %v", err)))
	}
	if v == nil {
		return append(errs, field.Required(path, "data is mandatory"))
	}
	if _, ok := v.(map[string]any); !ok {
		return append(errs, field.Required(path, "data must be a valid JSON object"))
	}
	return errs
}

func validateControllerRevisionUpdate(r, old *appsv1.ControllerRevision) field.ErrorList {
	errs := nonNegative(r.Revision, field.NewPath("revision"))
	return append(errs, apivalidation.ValidateImmutableField(r.Data, old.Data, field.NewPath("data"))...)
}
