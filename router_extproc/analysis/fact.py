"""Facts that are worked out when they are first asked for, once, and timed: the descriptor behind ``RequestAnalysis``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar, overload

_Value = TypeVar("_Value")


class Timekeeper(Protocol):
    """What facts are attributes of: it carries the clock and keeps the times."""

    is_cut_short: bool

    def work_out(self, fact: Fact[_Value]) -> _Value:
        """Computes the fact, keeps it in ``__dict__``, where it is found first from then on, and notes how long that took.

        Where computing fails the answer is ``otherwise``.
        """
        ...


class Fact(Generic[_Value]):
    """One fact: a method of its class that becomes an attribute.

    ``otherwise`` is the answer when it failed, or was not known before the analysis was cut short. ``called`` is its name
    in the decision record, and ``show`` turns the value into what stands there.
    """

    def __init__(
        self, compute: Callable[[Any], _Value], otherwise: _Value, called: str | None, show: Callable[[_Value], Any]
    ) -> None:
        self.compute, self.otherwise, self.called, self.show = compute, otherwise, called or "", show
        self.__doc__ = compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name
        self.called = self.called or name

    @overload
    def __get__(self, instance: None, owner: type) -> Fact[_Value]: ...
    @overload
    def __get__(self, instance: Timekeeper, owner: type) -> _Value: ...
    def __get__(self, instance: Timekeeper | None, owner: type) -> Fact[_Value] | _Value:
        if instance is None:
            return self
        if instance.is_cut_short:
            return self.otherwise
        return instance.work_out(self)


class fact:  # noqa: N801 - a decorator
    """Turns a method into a fact."""

    def __init__(
        self, *, otherwise: Any = None, called: str | None = None, show: Callable[[Any], Any] = lambda value: value
    ) -> None:
        self._otherwise, self._called, self._show = otherwise, called, show

    def __call__(self, compute: Callable[[Any], _Value]) -> Fact[_Value]:
        """The method as a fact."""
        return Fact(compute, self._otherwise, self._called, self._show)


class Part(Generic[_Value]):
    """An attribute that is part of a fact: the whole's own, of the same name unless another is given.

    ``otherwise`` is the answer where the whole is None.
    """

    def __init__(self, whole: str, otherwise: _Value, name: str = "") -> None:
        self._whole, self._otherwise, self._name = whole, otherwise, name

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = self._name or name

    @overload
    def __get__(self, instance: None, owner: type) -> Part[_Value]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> _Value: ...
    def __get__(self, instance: object | None, owner: type) -> Part[_Value] | _Value:
        if instance is None:
            return self
        whole = getattr(instance, self._whole)
        return self._otherwise if whole is None else getattr(whole, self._name)
