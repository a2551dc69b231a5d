package custom

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"reflect"
	"slices"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apimachinery/pkg/api/equality"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// names are what the definitions of one group have been given.
type names struct{ resources, kinds map[string]bool }

func (n *names) add(c *crd) {
	if n.resources == nil {
		n.resources, n.kinds = map[string]bool{}, map[string]bool{}
	}
	a := &c.Status.AcceptedNames
	n.resources[a.Plural], n.resources[a.Singular] = true, true
	for _, s := range a.ShortNames {
		n.resources[s] = true
	}
	n.kinds[a.Kind], n.kinds[a.ListKind] = true, true
}

// decide brings c's status to what its specification and the names of its group
// allow; c is changed. The conditions are those that Kubernetes' controllers of
// names, establishing and approval write; judgeStructure adds that of the schemas.
func decide(c *crd, taken *names) {
	if !equality.Semantic.DeepEqual(c.Spec.Names, c.Status.AcceptedNames) || apihelpers.FindCRDCondition(c, apiextensionsv1.NamesAccepted) == nil {
		acceptNames(c, taken)
	}
	establish(c)
	judgeApproval(c)
}

type condition = apiextensionsv1.CustomResourceDefinitionCondition

// acceptNames gives c the names that nobody else has (controller/status,
// calculateNamesAndConditions).
func acceptNames(c *crd, taken *names) {
	want, have, out := c.Spec.Names, c.Status.AcceptedNames, c.Status.AcceptedNames
	cond := condition{Type: apiextensionsv1.NamesAccepted, Status: apiextensionsv1.ConditionTrue, Reason: "NoConflicts", Message: "no conflicts found"}
	take := func(reason, want, have string, used map[string]bool, to *string) {
		if want != have && used[want] {
			cond = condition{Type: apiextensionsv1.NamesAccepted, Status: apiextensionsv1.ConditionFalse, Reason: reason, Message: inUse(want).Error()}
			return
		}
		*to = want
	}
	take("PluralConflict", want.Plural, have.Plural, taken.resources, &out.Plural)
	take("SingularConflict", want.Singular, have.Singular, taken.resources, &out.Singular)
	if !reflect.DeepEqual(want.ShortNames, have.ShortNames) {
		var errs []error
		for _, s := range want.ShortNames {
			if !slices.Contains(have.ShortNames, s) && s != "" && taken.resources[s] {
				errs = append(errs, inUse(s))
			}
		}
		if err := utilerrors.NewAggregate(errs); err != nil {
			cond = condition{Type: apiextensionsv1.NamesAccepted, Status: apiextensionsv1.ConditionFalse, Reason: "ShortNamesConflict", Message: err.Error()}
		} else {
			out.ShortNames = want.ShortNames
		}
	}
	take("KindConflict", want.Kind, have.Kind, taken.kinds, &out.Kind)
	take("ListKindConflict", want.ListKind, have.ListKind, taken.kinds, &out.ListKind)
	out.Categories = want.Categories

	established := condition{Type: apiextensionsv1.Established, Status: apiextensionsv1.ConditionFalse, Reason: "NotAccepted", Message: "not all names are accepted"}
	if old := apihelpers.FindCRDCondition(c, apiextensionsv1.Established); old != nil {
		established = *old
	}
	if established.Status != apiextensionsv1.ConditionTrue && cond.Status == apiextensionsv1.ConditionTrue {
		established = condition{Type: apiextensionsv1.Established, Status: apiextensionsv1.ConditionFalse, Reason: "Installing", Message: "the initial names have been accepted"}
	}
	c.Status.AcceptedNames = out
	apihelpers.SetCRDCondition(c, cond)
	apihelpers.SetCRDCondition(c, established)
}

func inUse(name string) error { return fmt.Errorf("%q is already in use", name) }

// establish says that c is served, which it is from then on.
func establish(c *crd) {
	if !apihelpers.IsCRDConditionTrue(c, apiextensionsv1.NamesAccepted) || apihelpers.IsCRDConditionTrue(c, apiextensionsv1.Established) {
		return
	}
	cond := condition{Type: apiextensionsv1.Established, Status: apiextensionsv1.ConditionTrue, Reason: "InitialNamesAccepted", Message: "the initial names have been accepted"}
	if w := c.Spec.Conversion; w != nil && w.Webhook != nil && w.Webhook.ClientConfig != nil && !validBundle(w.Webhook.ClientConfig.CABundle) {
		cond = condition{Type: apiextensionsv1.Established, Status: apiextensionsv1.ConditionFalse, Reason: "InvalidCABundle", Message: "The conversion webhook CABundle is invalid"}
	}
	apihelpers.SetCRDCondition(c, cond)
}

// validBundle tells whether all of a bundle can be read; none is right too.
func validBundle(b []byte) bool {
	if len(b) == 0 {
		return true
	}
	found := false
	for len(b) > 0 {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" || len(block.Headers) != 0 {
			continue
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return false
		}
		found = true
	}
	return found
}

// judgeStructure says where c's schemas are not structural (controller/
// nonstructuralschema, calculateCondition).
func judgeStructure(c *crd) {
	cond := condition{Type: apiextensionsv1.NonStructuralSchema, Status: apiextensionsv1.ConditionUnknown}
	var errs field.ErrorList
	if c.Spec.PreserveUnknownFields {
		errs = append(errs, field.Invalid(field.NewPath("spec", "preserveUnknownFields"), true, "must be false"))
	}
	for i := range c.Spec.Versions {
		v := &c.Spec.Versions[i]
		props, err := internalSchema(v)
		if err != nil || props == nil {
			continue
		}
		s, err := structuralschema.NewStructural(props)
		if err != nil {
			cond.Reason, cond.Message = "StructuralError", fmt.Sprintf("failed to check validation schema for version %s: %v", v.Name, err)
			apihelpers.SetCRDCondition(c, cond)
			return
		}
		errs = append(errs, structuralschema.ValidateStructural(field.NewPath("spec", "versions").Index(i).Child("schema", "openAPIV3Schema"), s)...)
	}
	if len(errs) == 0 {
		apihelpers.RemoveCRDCondition(c, apiextensionsv1.NonStructuralSchema)
		return
	}
	cond.Status, cond.Reason, cond.Message = apiextensionsv1.ConditionTrue, "Violations", errs.ToAggregate().Error()
	apihelpers.SetCRDCondition(c, cond)
}

// judgeApproval says whether a definition in a group of Kubernetes' own was approved
// (controller/apiapproval, calculateCondition).
func judgeApproval(c *crd) {
	if !apihelpers.IsProtectedCommunityGroup(c.Spec.Group) {
		return
	}
	cond := condition{Type: apiextensionsv1.KubernetesAPIApprovalPolicyConformant}
	state, reason := apihelpers.GetAPIApprovalState(c.Annotations)
	cond.Message = reason
	switch state {
	case apihelpers.APIApprovalInvalid:
		cond.Status, cond.Reason = apiextensionsv1.ConditionFalse, "InvalidAnnotation"
	case apihelpers.APIApprovalMissing:
		cond.Status, cond.Reason = apiextensionsv1.ConditionFalse, "MissingAnnotation"
	case apihelpers.APIApproved:
		cond.Status, cond.Reason = apiextensionsv1.ConditionTrue, "ApprovedAnnotation"
	case apihelpers.APIApprovalBypassed:
		cond.Status, cond.Reason = apiextensionsv1.ConditionFalse, "UnapprovedAnnotation"
	default:
		cond.Status, cond.Reason = apiextensionsv1.ConditionUnknown, "UnknownAnnotation"
	}
	apihelpers.SetCRDCondition(c, cond)
}
