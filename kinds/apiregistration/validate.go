package apiregistration

import (
	"fmt"
	"strings"

	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/kinds/row"
	"skiff.dev/skiff/kinds/rules"
)

// The rules of this file are those of kube-aggregator's
// pkg/apis/apiregistration/validation.

func validateService(s *service) field.ErrorList {
	var l rules.List
	path, spec := field.NewPath("spec"), &s.Spec
	name := spec.Version + "." + spec.Group
	for at, have := range map[string]string{"name": s.Name, "generateName": s.GenerateName} {
		if have != "" && have != name && len(row.PathSegment(have, false)) == 0 {
			l.Invalid(field.NewPath("metadata", at), have, fmt.Sprintf("must be `spec.version+\".\"+spec.group`: %q", name))
		}
	}
	if spec.Group == "" && spec.Version != "v1" {
		l.Required(path.Child("group"), "only v1 may have an empty group and it better be legacy kube")
	}
	if spec.Group != "" {
		l.Add(rules.DNSSubdomainField(spec.Group, path.Child("group"))...)
	}
	l.Messages(path.Child("version"), spec.Version, utilvalidation.IsDNS1035Label(spec.Version))
	rules.Range(&l, path.Child("groupPriorityMinimum"), spec.GroupPriorityMinimum, 1, 20000, "must be positive and less than 20000")
	rules.Range(&l, path.Child("versionPriority"), spec.VersionPriority, 1, 1000, "must be positive and less than 1000")
	if spec.Service == nil {
		if len(spec.CABundle) != 0 {
			l.Invalid(path.Child("caBundle"), fmt.Sprintf("%d bytes", len(spec.CABundle)), "local APIServices may not have a caBundle")
		}
		if spec.InsecureSkipTLSVerify {
			l.Invalid(path.Child("insecureSkipTLSVerify"), true, "local APIServices may not have insecureSkipTLSVerify")
		}
		return l.Errors()
	}
	l.Need(path.Child("service"), "namespace", spec.Service.Namespace)
	l.Need(path.Child("service"), "name", spec.Service.Name)
	port := ptr.Deref(spec.Service.Port, 0)
	if msgs := utilvalidation.IsValidPortNum(int(port)); msgs != nil {
		l.Invalid(path.Child("service", "port"), port, "port is not valid: "+strings.Join(msgs, ", "))
	}
	if spec.InsecureSkipTLSVerify && len(spec.CABundle) > 0 {
		l.Invalid(path.Child("insecureSkipTLSVerify"), true, "may not be true if caBundle is present")
	}
	return l.Errors()
}

func validateServiceUpdate(s, _ *service) field.ErrorList { return validateService(s) }

func validateServiceStatus(s, _ *service) field.ErrorList {
	var l rules.List
	for i, c := range s.Status.Conditions {
		rules.Supported(&l, field.NewPath("status", "conditions").Index(i).Child("status"), c.Status,
			apiregistrationv1.ConditionTrue, apiregistrationv1.ConditionFalse, apiregistrationv1.ConditionUnknown)
	}
	return l.Errors()
}
