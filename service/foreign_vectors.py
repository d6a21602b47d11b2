"""What is said of vectors that clients brought while another model answered: nobody here can make them anew."""


def foreign_warnings(num: int, *, model: str | None) -> list[str]:
    """The warning where queries of the model are compared with `num` documents' vectors that came for another one."""
    if num == 0:
        return []
    one = num == 1
    brought = "1 document brought a vector of its own" if one else f"{num} documents brought vectors of their own"
    told = f"{brought} while another model answered, which the model {model} cannot make anew"
    done = "it is compared as it is" if one else "they are compared as they are"
    remedy = "it again as a text or with a vector" if one else "them again as texts or with vectors"
    return [f"{told}: {done}; send {remedy} of this model"]
